"""One module per format: raw bytes of one event in, an `Event` out, or a `ParseError` that names the field."""
