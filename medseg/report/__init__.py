"""Numbers to a page that people can act on."""
