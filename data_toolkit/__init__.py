"""Data preparation: raw assets to training data (metadata, dumps, voxels, latents, condition images)."""
