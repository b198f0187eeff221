{{/* Names, labels and images. */}}

{{- define "penstock.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains "penstock" .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-penstock" (.Release.Name | trunc 31 | trimSuffix "-") -}}
{{- end -}}
{{- end -}}

{{/* What selects: it may never change in an upgrade. Takes the root; a component is added by `penstock.selector`. */}}
{{- define "penstock.releaseSelector" -}}
app.kubernetes.io/name: penstock
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{/* dict "root" $ "component" "gateway" */}}
{{- define "penstock.selector" -}}
{{ include "penstock.releaseSelector" .root }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{/* All labels of an object: dict "root" $ "component" "gateway" */}}
{{- define "penstock.labels" -}}
{{ include "penstock.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: penstock
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Labels of a pod: no chart version, which would restart every pod at every release of the chart. */}}
{{- define "penstock.podLabels" -}}
{{ include "penstock.selector" . }}
app.kubernetes.io/part-of: penstock
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* The one image of a process: dict "root" $ "image" .Values.images.control */}}
{{- define "penstock.image" -}}
{{- $image := .image -}}
{{- $name := $image.repository -}}
{{- with .root.Values.images.registry }}{{ $name = printf "%s/%s" (trimSuffix "/" .) $name }}{{ end -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $name $image.digest -}}
{{- else -}}
{{- printf "%s:%s" $name (default (printf "%s%s" .root.Chart.AppVersion (default "" $image.suffix)) $image.tag) -}}
{{- end -}}
{{- end -}}

{{/* Whether the cluster serves an API, or the values say that it will: list $ "monitoring.coreos.com/v1" */}}
{{- define "penstock.hasApi" -}}
{{- $root := index . 0 -}}{{- $api := index . 1 -}}
{{- if or ($root.Capabilities.APIVersions.Has $api) (has $api $root.Values.assumedApis) -}}true{{- end -}}
{{- end -}}

{{- define "penstock.schedulerAddress" -}}
{{ include "penstock.fullname" . }}-scheduler:{{ .Values.scheduler.port }}
{{- end -}}

{{- define "penstock.apiKeysSecret" -}}
{{- if .Values.auth.existingSecret -}}{{ .Values.auth.existingSecret }}
{{- else if .Values.auth.apiKeys -}}{{ include "penstock.fullname" . }}-api-keys{{- end -}}
{{- end -}}

{{- define "penstock.tlsSecret" -}}
{{- default (printf "%s-tls" (include "penstock.fullname" .)) .Values.tls.existingSecret -}}
{{- end -}}

{{/* The replicas to ask for. Whoever scales at run time is not overruled by an upgrade: what runs now stays.
     dict "root" $ "name" NAME "replicas" N "isScaled" BOOL */}}
{{- define "penstock.replicas" -}}
{{- $replicas := int .replicas -}}
{{- if .isScaled -}}
{{- $live := lookup "apps/v1" "Deployment" .root.Release.Namespace .name -}}
{{- if $live }}{{ $replicas = int $live.spec.replicas }}{{ end -}}
{{- end -}}
{{- $replicas -}}
{{- end -}}
