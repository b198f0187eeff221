{{/* Where a model comes from: a volume at /models, and for what must be fetched or made, an init container.
     All take dict "root" $ "model" MODEL. */}}

{{- define "penstock.modelPath" -}}
/models/{{ if eq .model.source "pvc" }}{{ .model.pvc.path | trimAll "/" }}{{ else }}{{ .model.name }}{{ end }}
{{- end -}}

{{- define "penstock.modelVolume" -}}
- name: models
  {{- if eq .model.source "pvc" }}
  persistentVolumeClaim:
    claimName: {{ required "model.pvc.claimName is needed when model.source is pvc" .model.pvc.claimName }}
    readOnly: true
  {{- else if .model.cache.claimName }}
  persistentVolumeClaim:
    claimName: {{ .model.cache.claimName }}
  {{- else }}
  emptyDir:
    {{- with .model.cache.sizeLimit }}
    sizeLimit: {{ . }}
    {{- else }} {}
    {{- end }}
  {{- end }}
{{- end -}}

{{/* "isTokenizerOnly": a gateway needs no weights. "workerImage" makes the built-in model, which takes torch. */}}
{{- define "penstock.modelInit" -}}
{{- if ne .model.source "pvc" }}
{{- $model := .model }}
{{- $path := include "penstock.modelPath" . }}
{{- $weights := list "*.safetensors" "*.bin" "*.pth" "*.gguf" "*.onnx" "*.h5" "*.msgpack" }}
- name: model
  imagePullPolicy: {{ .root.Values.images.pullPolicy }}
  {{- if eq $model.source "builtin" }}
  image: {{ .workerImage }}
  command: [penstock, model, make-tiny, {{ $path }}]
  {{- else if eq $model.source "hf" }}
  image: {{ include "penstock.image" (dict "root" .root "image" .root.Values.images.control) }}
  command:
    - hf
    - download
    - {{ required "model.hf.repository is needed when model.source is hf" $model.hf.repository }}
    - --revision={{ $model.hf.revision }}
    - --local-dir={{ $path }}
    {{- if .isTokenizerOnly }}
    {{- range $weights }}
    - --exclude={{ . }}
    {{- end }}
    {{- end }}
  {{- else if eq $model.source "s3" }}
  image: {{ $model.s3.image }}
  command:
    - aws
    - s3
    - sync
    - --no-progress
    - {{ required "model.s3.uri is needed when model.source is s3" $model.s3.uri }}
    - {{ $path }}
    {{- with $model.s3.endpointUrl }}
    - --endpoint-url={{ . }}
    {{- end }}
    {{- if .isTokenizerOnly }}
    {{- range $weights }}
    - --exclude={{ . }}
    {{- end }}
    {{- end }}
  {{- with $model.s3.secretName }}
  envFrom:
    - secretRef: {name: {{ . }}}
  {{- end }}
  {{- else }}
  image: {{ required "model.oci.image is needed when model.source is oci: an image with the oras command" $model.oci.image }}
  command: [oras, pull, --output, {{ $path }}, {{ required "model.oci.reference is needed when model.source is oci" $model.oci.reference | quote }}]
  {{- end }}
  env:
    - name: HOME
      value: /cache
    {{- if and (eq $model.source "hf") (include "penstock.hfTokenSecret" .root) }}
    - name: HF_TOKEN
      valueFrom:
        secretKeyRef:
          name: {{ include "penstock.hfTokenSecret" .root }}
          key: {{ .root.Values.huggingFace.secretKey }}
    {{- end }}
    {{- if and (eq $model.source "oci") $model.oci.secretName }}
    - name: DOCKER_CONFIG
      value: /etc/registry
    {{- end }}
  securityContext:
    {{- include "penstock.containerSecurity" (dict) | nindent 4 }}
  resources:
    {{- toYaml $model.initResources | nindent 4 }}
  volumeMounts:
    - name: models
      mountPath: /models
    - name: tmp
      mountPath: /tmp
    - name: cache
      mountPath: /cache
    {{- if and (eq $model.source "oci") $model.oci.secretName }}
    - name: registry
      mountPath: /etc/registry
      readOnly: true
    {{- end }}
{{- end }}
{{- end -}}

{{- define "penstock.modelSecretVolume" -}}
{{- if and (eq .model.source "oci") .model.oci.secretName }}
- name: registry
  secret:
    secretName: {{ .model.oci.secretName }}
    items:
      - {key: .dockerconfigjson, path: config.json}
{{- end }}
{{- end -}}

{{- define "penstock.hfTokenSecret" -}}
{{- if .Values.huggingFace.existingSecret -}}{{ .Values.huggingFace.existingSecret }}
{{- else if .Values.huggingFace.token -}}{{ include "penstock.fullname" . }}-hf-token{{- end -}}
{{- end -}}
