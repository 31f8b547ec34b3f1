"""What operators are told: figures, traces, log lines, and whether the service is ready."""
