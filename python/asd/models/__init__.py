"""Networks: encoders of log-mels, what follows them in training, and what they cost. Functions of their arguments."""
