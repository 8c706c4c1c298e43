"""What a command would run and what that costs; pure, without PyTorch, Ray or MLflow."""
