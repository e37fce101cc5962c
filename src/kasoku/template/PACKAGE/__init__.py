"""A net and data to be trained by kasoku."""
