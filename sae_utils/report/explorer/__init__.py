"""A page about every latent of a dictionary, in one HTML file that opens without a server or a network."""
