"""Makes the files of grafana/ that others import: alert rules and dashboards."""
