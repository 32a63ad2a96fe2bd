"""A DICOM node: a PACS sends CT series to it, it segments them and sends the results back."""
