"""The public app server: OIP REST around the chosen upstream, predictions as resources, documentation and page."""
