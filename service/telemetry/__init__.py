"""What a process tells its operator: log lines, figures for Prometheus, traces by OpenTelemetry. Never what people wrote."""
