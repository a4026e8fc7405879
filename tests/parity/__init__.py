"""The reference presets held against what they are named after: the library's own initialization, or its stated law."""
