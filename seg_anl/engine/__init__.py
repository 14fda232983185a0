"""What both trainers share: settings, the command line, the experiment skeleton, the training loop, run directories."""
