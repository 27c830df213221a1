"""What an image must be to count as hardened, and whether it is: `audit_image`."""
