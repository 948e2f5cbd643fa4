"""What in a server's definitions commands the model: rules in files, and the pure function that reads them."""
