{{/* The settings file of a process, and what restarts its pods when it changes. */}}

{{/* What restarts the pods of a process when it changes: of "process" and its "settings". */}}
{{- define "penstock.podAnnotations" -}}
checksum/settings: {{ include "penstock.settingsFile" . | sha256sum }}
{{- with .settings.podAnnotations }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* The YAML file of one process: of "process" and "settings". Values are camelCase, settings snake_case. */}}
{{- define "penstock.settingsFile" -}}
{{ .process }}:
  {{- range $key, $value := .settings.settings }}
  {{ snakecase $key }}: {{ if kindIs "float64" $value }}{{ if eq (floor $value) $value }}{{ int64 $value }}{{ else }}{{ $value }}{{ end }}{{ else }}{{ toJson $value }}{{ end }}
  {{- end }}
  {{- if .root.Values.tls.enabled }}
  tls_folder: /etc/penstock-tls
  {{- end }}
{{- end -}}
