{{/* The pod of the scheduler, which is the Ray head; a StatefulSet or a RayCluster holds it. And that of a Ray worker. */}}

{{- define "penstock.hasRayCluster" -}}
{{- if or .Values.scheduler.kubeRay.enabled (gt (int .Values.scheduler.rayWorkers.replicas) 0) -}}true{{- end -}}
{{- end -}}

{{- define "penstock.usesKubeRay" -}}
{{- if and .Values.scheduler.kubeRay.enabled (include "penstock.hasApi" (list . "ray.io/v1")) -}}true{{- end -}}
{{- end -}}

{{/* Ports of the routers, one a group: as a list of numbers in JSON; "base" is the first of them. */}}
{{- define "penstock.routerPorts" -}}
{{- $ports := list -}}
{{- range $index, $_ := .Values.scheduler.groups }}{{ $ports = append $ports (add (int $.Values.scheduler.routerPort) $index) }}{{ end -}}
{{- toJson $ports -}}
{{- end -}}

{{/* What the scheduler may scale, as it wants to be told: GROUP/ROLE/DEPLOYMENT,... */}}
{{- define "penstock.scaledPools" -}}
{{- $pools := list -}}
{{- range $pool := include "penstock.pools" . | fromJsonArray -}}
{{- $pools = append $pools (printf "%s/%s/%s" $pool.group $pool.role (include "penstock.poolName" (dict "root" $ "pool" $pool))) -}}
{{- end -}}
{{- join "," $pools -}}
{{- end -}}

{{- define "penstock.schedulerArgs" -}}
{{- $scheduler := .Values.scheduler -}}
- scheduler
- --settings=/etc/penstock/settings.yaml
- --address=0.0.0.0:{{ $scheduler.port }}
# With Ray on one node its own address is loopback's, so routers are told theirs; on several, each finds its own.
- --router-host={{ ternary "0.0.0.0" "$(POD_IP)" (eq (include "penstock.hasRayCluster" .) "true") }}
- --router-base-port={{ $scheduler.routerPort }}
- --metrics-address=0.0.0.0:{{ $scheduler.metricsPort }}
- --groups={{ join "," $scheduler.groups }}
- --ray-address={{ ternary (printf "$(POD_IP):%d" (int $scheduler.rayPort)) "local" (eq (include "penstock.hasRayCluster" .) "true") }}
{{- if $scheduler.scaling.enabled }}
- --scaler=kubernetes
- --kubernetes-pools={{ include "penstock.scaledPools" . }}
{{- end }}
{{- end -}}

{{/* `exec`: the scheduler gets the signals. Should Ray die, the scheduler ends, and both start anew. */}}
{{- define "penstock.rayHeadCommand" -}}
ray start --head --node-ip-address="$POD_IP" --port={{ .Values.scheduler.rayPort }} --num-cpus="$RAY_CPUS"
--object-store-memory=83886080 --plasma-directory=/tmp --include-dashboard=false --disable-usage-stats
--log-style=record --log-color=false && exec penstock "$@"
{{- end -}}

{{- define "penstock.rayWorkerCommand" -}}
exec ray start --address={{ include "penstock.fullname" . }}-ray:{{ .Values.scheduler.rayPort }} --node-ip-address="$POD_IP"
--num-cpus="$RAY_CPUS" --object-store-memory=83886080 --plasma-directory=/tmp --disable-usage-stats
--log-style=record --log-color=false --block
{{- end -}}

{{- define "penstock.schedulerPod" -}}
{{- $scheduler := .Values.scheduler -}}
{{- $names := dict "root" . "component" "scheduler" -}}
metadata:
  labels:
    {{- include "penstock.podLabels" $names | nindent 4 }}
    penstock.dev/ray: "true"
  annotations:
    {{- include "penstock.podAnnotations" (dict "root" . "process" "scheduler" "settings" $scheduler) | nindent 4 }}
spec:
  serviceAccountName: {{ include "penstock.fullname" . }}-scheduler
  automountServiceAccountToken: {{ $scheduler.scaling.enabled }}
  terminationGracePeriodSeconds: 30
  {{- include "penstock.podSpec" (dict "root" . "settings" $scheduler) | nindent 2 }}
  containers:
    - name: scheduler
      image: {{ include "penstock.image" (dict "root" . "image" .Values.images.control) }}
      imagePullPolicy: {{ .Values.images.pullPolicy }}
      {{- if include "penstock.hasRayCluster" . }}
      command:
        - /bin/sh
        - -ec
        - {{ include "penstock.rayHeadCommand" . | replace "\n" " " | quote }}
        - scheduler
      {{- end }}
      args:
        {{- include "penstock.schedulerArgs" . | nindent 8 }}
      env:
        {{- include "penstock.env" (dict "root" . "extra" $scheduler.extraEnv) | nindent 8 }}
        {{- if include "penstock.hasRayCluster" . }}
        - name: RAY_CPUS
          valueFrom: {resourceFieldRef: {resource: limits.cpu}}
        {{- end }}
      ports:
        - {name: grpc, containerPort: {{ $scheduler.port }}}
        - {name: status, containerPort: {{ $scheduler.metricsPort }}}
        {{- range $index, $port := include "penstock.routerPorts" . | fromJsonArray }}
        - {name: router-{{ $index }}, containerPort: {{ $port }}}
        - {name: router-{{ $index }}-m, containerPort: {{ add (int $scheduler.metricsPort) $index 1 }}}
        {{- end }}
      {{- include "penstock.probes" (dict "port" "status" "ready" "/ready" "startupTimeoutSeconds" $scheduler.startupTimeoutSeconds) | nindent 6 }}
      securityContext:
        {{- include "penstock.containerSecurity" (dict) | nindent 8 }}
      resources:
        {{- toYaml $scheduler.resources | nindent 8 }}
      volumeMounts:
        {{- include "penstock.volumeMounts" (dict "root" .) | nindent 8 }}
  volumes:
    {{- include "penstock.volumes" (dict "root" . "process" "scheduler") | nindent 4 }}
{{- end -}}

{{- define "penstock.rayWorkerPod" -}}
{{- $workers := .Values.scheduler.rayWorkers -}}
metadata:
  labels:
    {{- include "penstock.podLabels" (dict "root" . "component" "ray-worker") | nindent 4 }}
    penstock.dev/ray: "true"
  annotations:
    {{- include "penstock.podAnnotations" (dict "root" . "process" "scheduler" "settings" .Values.scheduler) | nindent 4 }}
spec:
  # A router may run here, and it is the routers that scale.
  serviceAccountName: {{ include "penstock.fullname" . }}-scheduler
  automountServiceAccountToken: {{ .Values.scheduler.scaling.enabled }}
  terminationGracePeriodSeconds: 30
  {{- include "penstock.podSpec" (dict "root" . "settings" $workers) | nindent 2 }}
  containers:
    - name: ray-worker
      image: {{ include "penstock.image" (dict "root" . "image" .Values.images.control) }}
      imagePullPolicy: {{ .Values.images.pullPolicy }}
      command:
        - /bin/sh
        - -ec
        - {{ include "penstock.rayWorkerCommand" . | replace "\n" " " | quote }}
      env:
        {{- include "penstock.env" (dict "root" .) | nindent 8 }}
        - name: RAY_CPUS
          valueFrom: {resourceFieldRef: {resource: limits.cpu}}
      securityContext:
        {{- include "penstock.containerSecurity" (dict) | nindent 8 }}
      resources:
        {{- toYaml $workers.resources | nindent 8 }}
      volumeMounts:
        {{- include "penstock.volumeMounts" (dict "root" .) | nindent 8 }}
  volumes:
    {{- include "penstock.volumes" (dict "root" . "process" "scheduler") | nindent 4 }}
{{- end -}}
