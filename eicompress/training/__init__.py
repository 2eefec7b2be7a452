"""The training loop, teachers and their stored outputs, losses, and importance for pruning."""
