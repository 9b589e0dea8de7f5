"""Pictures, videos, turntables, losses, sampling of batches, and other small things the rest shares."""
