"""The kinds of results that can be asked for beside labels, tables and page: one table, ``vastus.formats.table``."""
