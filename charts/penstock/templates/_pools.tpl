{{/* One pool of workers: its values laid over `poolDefaults`, what may not be said together, its flags. */}}

{{/* All pools as JSON, with their defaults: include "penstock.pools" . | fromJsonArray */}}
{{- define "penstock.pools" -}}
{{- $root := . -}}
{{- $pools := list -}}
{{- $names := dict -}}
{{- $encoded := list -}}
{{- range .Values.pools }}{{ if eq .role "encoder" }}{{ $encoded = append $encoded (default $root.Values.poolDefaults.group .group) }}{{ end }}{{ end -}}
{{- range .Values.pools -}}
{{- $pool := mustMergeOverwrite (deepCopy $root.Values.poolDefaults) (deepCopy .) -}}
{{- $_ := set $pool "model" (mustMergeOverwrite (deepCopy $root.Values.model) (deepCopy (default dict .model))) -}}
{{- /* What is set for all pools is in the settings file; a flag says only what differs. */ -}}
{{- $_ := set $pool "settings" (default dict .settings) -}}
{{- /* Whoever encodes what it prefills asks no encoder: where there are some, they do it, unless it is said otherwise. */ -}}
{{- if and (ne $pool.role "encoder") (has $pool.group $encoded) (not (hasKey $root.Values.poolDefaults.settings "encodesImages")) -}}
{{- $_ := set $pool "settings" (merge (deepCopy $pool.settings) (dict "encodesImages" false)) -}}
{{- end -}}
{{- include "penstock.checkPool" (dict "root" $root "pool" $pool "names" $names) -}}
{{- $_ := set $names $pool.name true -}}
{{- $pools = append $pools $pool -}}
{{- end -}}
{{- toJson $pools -}}
{{- end -}}

{{- define "penstock.checkPool" -}}
{{- $pool := .pool -}}
{{- $where := printf "pool '%s'" $pool.name -}}
{{- if hasKey .names $pool.name }}{{ fail (printf "%s: there are two pools of this name" $where) }}{{ end -}}
{{- if not (has $pool.group .root.Values.scheduler.groups) -}}
{{- fail (printf "%s: group '%s' is none of scheduler.groups: %s" $where $pool.group (join ", " .root.Values.scheduler.groups)) -}}
{{- end -}}
{{- $degree := mul (int $pool.parallelism.tensor) (int $pool.parallelism.pipeline) -}}
{{- if gt $degree 1 -}}
{{- fail (printf "%s: parallelism %dx%d: a worker of this version runs on one GPU; use tensor: 1, pipeline: 1 and more replicas" $where (int $pool.parallelism.tensor) (int $pool.parallelism.pipeline)) -}}
{{- end -}}
{{- if gt (int $pool.gpu.count) 1 }}{{ fail (printf "%s: gpu.count %d: a worker of this version uses one GPU; ask for more replicas" $where (int $pool.gpu.count)) }}{{ end -}}
{{- if and $pool.gpu.type (not (hasKey .root.Values.gpuTypes (lower $pool.gpu.type))) -}}
{{- fail (printf "%s: gpu.type '%s' is not in gpuTypes, which has %s; add the labels of its nodes there" $where $pool.gpu.type (keys .root.Values.gpuTypes | sortAlpha | join ", ")) -}}
{{- end -}}
{{- if and (gt (int $pool.rdma.count) 0) (not $pool.rdma.resourceName) -}}
{{- fail (printf "%s: rdma.count is %d but rdma.resourceName is empty; name what the device plugin offers, such as rdma/hca" $where (int $pool.rdma.count)) -}}
{{- end -}}
{{- range $key := list "blockSize" "numBlocks" "kvMemoryBytes" -}}
{{- if and (eq $pool.role "encoder") (hasKey $pool.settings $key) }}{{ fail (printf "%s: settings.%s: an encoder holds no KV; leave it out" $where $key) }}{{ end -}}
{{- end -}}
{{- end -}}

{{- define "penstock.poolName" -}}
{{ include "penstock.fullname" .root }}-{{ .pool.name }}
{{- end -}}

{{- define "penstock.poolSelector" -}}
{{ include "penstock.selector" (dict "root" .root "component" "worker") }}
penstock.dev/pool: {{ .pool.name }}
{{- end -}}

{{/* What the scheduler finds its workers and their pools by. */}}
{{- define "penstock.poolLabels" -}}
penstock.dev/pool: {{ .pool.name }}
penstock.dev/role: {{ .pool.role }}
penstock.dev/group: {{ .pool.group }}
{{- end -}}

{{- define "penstock.workerImage" -}}
{{- $isGpu := gt (int .pool.gpu.count) 0 -}}
{{- include "penstock.image" (dict "root" .root "image" (ternary .root.Values.images.workerCuda .root.Values.images.workerCpu $isGpu)) -}}
{{- end -}}

{{/* Node labels of the GPU type, then the pool's own selector. */}}
{{- define "penstock.poolNodeSelector" -}}
{{- $ofType := ternary (get .root.Values.gpuTypes (lower .pool.gpu.type)) dict (ne .pool.gpu.type "") -}}
{{- toYaml (mustMergeOverwrite (deepCopy $ofType) .pool.nodeSelector) -}}
{{- end -}}

{{- define "penstock.workerArgs" -}}
- worker
- --settings=/etc/penstock/settings.yaml
- --worker-id=$(POD_NAME)
- --role={{ .pool.role }}
- --group={{ .pool.group }}
- --model={{ include "penstock.modelPath" (dict "model" .pool.model) }}
- --device={{ ternary "cuda" "cpu" (gt (int .pool.gpu.count) 0) }}
- --address=$(POD_IP):{{ .pool.port }}
- --metrics-address=$(POD_IP):{{ .pool.metricsPort }}
- --scheduler-address={{ include "penstock.schedulerAddress" .root }}
{{- range $key, $value := .pool.settings }}
- --{{ kebabcase (snakecase $key) }}={{ if kindIs "slice" $value }}{{ join "," $value }}{{ else if kindIs "float64" $value }}{{ if eq (floor $value) $value }}{{ int64 $value }}{{ else }}{{ $value }}{{ end }}{{ else }}{{ $value }}{{ end }}
{{- end }}
{{- end -}}

{{- define "penstock.workerResources" -}}
{{- $limits := deepCopy (default dict .pool.resources.limits) -}}
{{- $requests := deepCopy (default dict .pool.resources.requests) -}}
{{- if gt (int .pool.gpu.count) 0 }}{{ $_ := set $limits .pool.gpu.resourceName (int .pool.gpu.count) }}{{ end -}}
{{- if gt (int .pool.rdma.count) 0 }}{{ $_ := set $limits .pool.rdma.resourceName (int .pool.rdma.count) }}{{ end -}}
{{- with $requests }}
requests:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $limits }}
limits:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* How long SIGTERM may take: the pool's setting, else that of all workers, else the code's default of 10. */}}
{{- define "penstock.workerDrain" -}}
{{ dig "drainTimeoutS" (dig "drainTimeoutS" 10 .root.Values.poolDefaults.settings) .pool.settings }}
{{- end -}}
