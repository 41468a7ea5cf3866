"""The structure of the Cosmos video autoencoder, shared by the teacher's codec and the splat decoder."""
