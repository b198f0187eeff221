{{/* How pods begin and end: probes, and the time a drain gets. */}}

{{/* Probes ask the process about itself alone, never about its peers: of "port" (by name), "ready" (a path) and
     "startupTimeoutSeconds", within which it must have loaded what it serves. */}}
{{- define "penstock.probes" -}}
startupProbe:
  httpGet: {path: /health, port: {{ .port }}}
  periodSeconds: 5
  timeoutSeconds: 5
  failureThreshold: {{ div (add (int .startupTimeoutSeconds) 4) 5 }}
readinessProbe:
  httpGet: {path: {{ .ready }}, port: {{ .port }}}
  periodSeconds: 5
  timeoutSeconds: 5
  failureThreshold: 2
livenessProbe:
  httpGet: {path: /health, port: {{ .port }}}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
{{- end -}}

{{/* SIGTERM begins the drain: time for what comes before it, for the drain itself, and to leave.
     of "before" and "drain", in seconds. */}}
{{- define "penstock.gracePeriod" -}}
{{ add (int .before) (int (ceil (float64 .drain))) 15 }}
{{- end -}}
