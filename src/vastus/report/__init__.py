"""Pictures and pages of a result: slices under the label colours, montages for many scans, the page of one scan."""
