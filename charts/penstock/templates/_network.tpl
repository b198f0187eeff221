{{/* One NetworkPolicy: of "component", of whose pods "roles" (matchExpressions) may choose some, and which it is called
     after unless there is a "name"; "in" and "out" (each a list of peers, which are label selectors, and ports; no ports:
     all of them), "open" (peers of the values, from outside this release), "monitored" (ports that the monitoring may
     scrape), "download" (models come from elsewhere), "images" (so do images: public ones, or any), "api" (the Kubernetes
     API is called). */}}
{{- define "penstock.networkPolicy" -}}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: {{ include "penstock.fullname" .root }}-{{ default .component .name }}
  labels:
    {{- include "penstock.labels" (dict "root" .root "component" .component) | nindent 4 }}
spec:
  podSelector:
    matchLabels:
      {{- include "penstock.selector" . | nindent 6 }}
    {{- with .roles }}
    matchExpressions: {{ toJson . }}
    {{- end }}
  policyTypes: [Ingress, Egress]
  ingress:{{ if not (or .in .open .monitored) }} []{{ end }}
    {{- range .in }}
    - from:
        {{- include "penstock.networkPeers" .from | trim | nindent 8 }}
      {{- include "penstock.networkPorts" .ports | nindent 6 }}
    {{- end }}
    {{- with .open }}
    - {{ if .from }}from: {{ toJson .from }}{{ end }}
      {{- include "penstock.networkPorts" .ports | nindent 6 }}
    {{- end }}
    {{- with .monitored }}
    - from:
        - namespaceSelector: {{ toJson $.root.Values.networkPolicy.monitoringNamespaceSelector }}
      {{- include "penstock.networkPorts" . | nindent 6 }}
    {{- end }}
  egress:
    {{- range .out }}
    - to:
        {{- include "penstock.networkPeers" .to | trim | nindent 8 }}
      {{- include "penstock.networkPorts" .ports | nindent 6 }}
    {{- end }}
    {{- if .download }}
    - to: {{ toJson .root.Values.networkPolicy.modelSources }}
      ports: [{protocol: TCP, port: 443}]
    {{- end }}
    {{- if has .images (list "public" "any") }}
    - to: {{ toJson .root.Values.networkPolicy.imageSources }}
      {{- if eq .images "public" }}
      ports: [{protocol: TCP, port: 80}, {protocol: TCP, port: 443}]
      {{- end }}
    {{- end }}
    {{- if and .root.Values.tracing.endpoint (ne .component "test") }}
    - to: {{ toJson .root.Values.networkPolicy.collectors }}
      ports: [{protocol: TCP, port: {{ regexFind "[0-9]+$" .root.Values.tracing.endpoint }}}]
    {{- end }}
    {{- if .api }}
    - to: {{ toJson .root.Values.networkPolicy.kubernetesApi }}
      ports: [{protocol: TCP, port: 443}, {protocol: TCP, port: 6443}]
    {{- end }}
{{- end -}}

{{- define "penstock.networkPeers" -}}
{{- range . }}
- podSelector:
    {{- range $kind, $what := . }}
    {{ $kind }}: {{ toJson $what }}
    {{- end }}
{{- end }}
{{- end -}}

{{- define "penstock.networkPorts" -}}
{{- if . -}}
ports:
  {{- range . }}
  - {protocol: TCP, port: {{ . }}}
  {{- end }}
{{- end -}}
{{- end -}}
