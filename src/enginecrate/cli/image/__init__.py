"""The commands about images: `lock`, `image` and `audit`; each file parses, calls and reports."""
