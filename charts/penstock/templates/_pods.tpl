{{/* What every pod has: it passes the restricted Pod Security Standard. Takes dict "root" $ and what is named at each. */}}

{{/* of "settings" (its section of the values) */}}
{{- define "penstock.podSpec" -}}
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: {{ .root.Values.podSecurity.runAsUser }}
  runAsGroup: {{ .root.Values.podSecurity.runAsGroup }}
  fsGroup: {{ .root.Values.podSecurity.fsGroup }}
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile:
    type: RuntimeDefault
{{- with .root.Values.images.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- with .settings.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .settings.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .settings.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .settings.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Spread over nodes or zones: of "keys", and "labels" that select the pods to spread. */}}
{{- define "penstock.spread" -}}
{{- if .keys }}
topologySpreadConstraints:
  {{- range .keys }}
  - topologyKey: {{ . }}
    maxSkew: 1
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- $.labels | nindent 8 }}
  {{- end }}
{{- end }}
{{- end -}}

{{/* of "capabilities" (a list) */}}
{{- define "penstock.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
  {{- with .capabilities }}
  add: {{ toJson . }}
  {{- end }}
{{- end -}}

{{/* Variables of every process, then "extra" of the values. */}}
{{- define "penstock.env" -}}
- name: POD_NAME
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
- name: POD_NAMESPACE
  valueFrom: {fieldRef: {fieldPath: metadata.namespace}}
- name: POD_IP
  valueFrom: {fieldRef: {fieldPath: status.podIP}}
- name: HOME
  value: /cache
{{- with .root.Values.tracing.endpoint }}
- name: OTEL_EXPORTER_OTLP_ENDPOINT
  value: {{ . | quote }}
{{- end }}
{{- with .extra }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Where a process may write, and what it reads: of "process" (its section of the settings file) */}}
{{- define "penstock.volumeMounts" -}}
- name: tmp
  mountPath: /tmp
- name: cache
  mountPath: /cache
- name: settings
  mountPath: /etc/penstock
  readOnly: true
{{- if .root.Values.tls.enabled }}
- name: tls
  mountPath: /etc/penstock-tls
  readOnly: true
{{- end }}
{{- end -}}

{{- define "penstock.volumes" -}}
- name: tmp
  emptyDir: {}
- name: cache
  emptyDir: {}
- name: settings
  configMap:
    name: {{ include "penstock.fullname" .root }}-settings
    items:
      - key: {{ .process }}.yaml
        path: settings.yaml
{{- if .root.Values.tls.enabled }}
- name: tls
  secret:
    secretName: {{ include "penstock.tlsSecret" .root }}
    defaultMode: 0440
{{- end }}
{{- end -}}
