"""What a network sees in an image: backbones, features, embeddings, and LPIPS distance maps."""
