"""The teacher: 3D cache, video autoencoder, camera-controlled video diffusion, and samplers."""
