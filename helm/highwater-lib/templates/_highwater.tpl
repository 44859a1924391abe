{{/*
All templates take (dict "g" <durability, global> "w" <durability of the workload> "app" <its name>):

  highwater.enabled         "true" or nothing
  highwater.check           fails the render where the workload cannot be protected; also takes "replicas" and "type"
  highwater.podLabels       highwater.podAnnotations   highwater.initContainers   highwater.volumes

Conditions are nested and not joined by `and`: it does not stop at the first false one in old engines.
The values are described in schema/durability.schema.json.
*/}}

{{- define "highwater.enabled" -}}{{- with .w -}}{{- if .enabled -}}true{{- end -}}{{- end -}}{{- end -}}

{{- define "highwater.check" -}}
{{- if include "highwater.enabled" . -}}
{{- if eq .type "Deployment" -}}{{- if gt (int .replicas) 1 -}}{{- fail (printf "workload %s: durability needs replicas: 1 (one writer per replica), not %v" .app .replicas) -}}{{- end -}}{{- end -}}
{{- if not .w.sqlite -}}{{- if not .w.files -}}{{- fail (printf "workload %s: durability is on and says neither sqlite nor files" .app) -}}{{- end -}}{{- end -}}
{{- if not .w.volume -}}{{- fail (printf "workload %s: durability.volume must name the volume that holds the data" .app) -}}{{- end -}}
{{- end -}}
{{- end -}}

{{- define "highwater.podLabels" -}}
highwater.dev/enabled: "true"
{{- end -}}

{{- define "highwater.podAnnotations" -}}
highwater.dev/app: {{ .app | quote }}
{{- with .g.cluster }}
highwater.dev/cluster: {{ . | quote }}
{{- end }}
highwater.dev/bucket: {{ required "durability.bucket is required" .g.bucket | quote }}
highwater.dev/prefix: {{ .w.prefix | default .app | quote }}
{{- with .g.endpoint }}
highwater.dev/endpoint: {{ . | quote }}
{{- end }}
{{- with .g.region }}
highwater.dev/region: {{ . | quote }}
{{- end }}
{{- if .g.allowHttp }}
highwater.dev/allow-http: "true"
{{- end }}
highwater.dev/profile: {{ .w.profile | default "standard" | quote }}
{{- with .w.sqlite }}
highwater.dev/sqlite: {{ join "," . | quote }}
{{- end }}
{{- with .w.files }}
highwater.dev/files: {{ join "," . | quote }}
{{- end }}
{{- with .w.filesExclude }}
highwater.dev/files-exclude: {{ join "," . | quote }}
{{- end }}
{{- with .w.restore }}
highwater.dev/restore: {{ . | quote }}
{{- end }}
{{- with .g.recipients }}
highwater.dev/recipients: {{ join "," . | quote }}
{{- end }}
{{- end -}}

{{- define "highwater._mounts" -}}
- mountPath: /highwater/data
  name: {{ .w.volume }}
{{- with .w.subPath }}
  subPath: {{ . }}
{{- end }}
- {mountPath: /highwater/podinfo, name: highwater-podinfo, readOnly: true}
- {mountPath: /highwater/credentials, name: highwater-credentials, readOnly: true}
- {mountPath: /highwater/run, name: highwater-run}
{{- end -}}

{{- define "highwater._image" -}}
{{- $image := .g.image | default dict -}}
{{- $registry := $image.registry | default "registry.example/highwater" -}}
{{- $digest := dig "digests" .component "" $image -}}
{{- if $digest -}}{{ printf "%s/%s@%s" $registry .component $digest | quote }}
{{- else -}}{{ printf "%s/%s:%s" $registry .component ($image.tag | default "0.1.0") | quote }}{{- end -}}
{{- end -}}

{{- define "highwater._common" -}}
image: {{ include "highwater._image" . }}
env:
  - {name: POD_NAME, valueFrom: {fieldRef: {apiVersion: v1, fieldPath: metadata.name}}}
  - {name: POD_NAMESPACE, valueFrom: {fieldRef: {apiVersion: v1, fieldPath: metadata.namespace}}}
  - {name: POD_UID, valueFrom: {fieldRef: {apiVersion: v1, fieldPath: metadata.uid}}}
  - {name: NODE_NAME, valueFrom: {fieldRef: {apiVersion: v1, fieldPath: spec.nodeName}}}
{{- if eq .component "restore" }}
{{- with .g.identitySecret }}
  - {name: HIGHWATER_IDENTITY_FILE, value: /highwater/identity/identity.txt}
{{- end }}
{{- end }}
volumeMounts:
{{ include "highwater._mounts" . | indent 2 }}
{{- if eq .component "restore" }}
{{- with .g.identitySecret }}
  - {mountPath: /highwater/identity, name: highwater-identity, readOnly: true}
{{- end }}
{{- end }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  runAsNonRoot: true
  capabilities: {drop: [ALL]}
  seccompProfile: {type: RuntimeDefault}
terminationMessagePolicy: FallbackToLogsOnError
{{- end -}}

{{- define "highwater._sidecar" -}}
- name: {{ .component }}
  args: [{{ .verb }}]
  restartPolicy: Always
  ports: [{name: {{ .port }}, containerPort: {{ .number }}, protocol: TCP}]
  startupProbe: {httpGet: {path: /startz, port: {{ .port }}}, periodSeconds: 2, failureThreshold: 90}
  livenessProbe: {httpGet: {path: /livez, port: {{ .port }}}, periodSeconds: 10, timeoutSeconds: 3, failureThreshold: 3}
  readinessProbe: {httpGet: {path: /readyz, port: {{ .port }}}, periodSeconds: 5, timeoutSeconds: 3, failureThreshold: 3}
{{- if eq .component "wal-streamer" }}
  lifecycle: {preStop: {exec: {command: [/wal-streamer, sync]}}}
{{- end }}
  resources:
{{ dig "sidecar" (dict "requests" (dict "cpu" "10m" "memory" "64Mi") "limits" (dict "cpu" "100m" "memory" "64Mi")) (.g.resources | default dict) | toYaml | indent 4 }}
{{ include "highwater._common" . | indent 2 }}
{{- end -}}

{{- define "highwater.initContainers" -}}
- name: restore-state
  args: [init]
  resources:
{{ dig "restore" (dict "requests" (dict "cpu" "50m" "memory" "128Mi") "limits" (dict "cpu" "500m" "memory" "128Mi")) (.g.resources | default dict) | toYaml | indent 4 }}
{{ include "highwater._common" (merge (dict "component" "restore") .) | indent 2 }}
{{- if .w.files }}
{{ include "highwater._sidecar" (merge (dict "component" "config-syncer" "verb" "watch" "port" "sync-metrics" "number" 9091) .) }}
{{- end }}
{{- if .w.sqlite }}
{{ include "highwater._sidecar" (merge (dict "component" "wal-streamer" "verb" "replicate" "port" "wal-metrics" "number" 9090) .) }}
{{- end }}
{{- end -}}

{{- define "highwater.volumes" -}}
- name: highwater-podinfo
  downwardAPI:
    items:
      - {path: annotations, fieldRef: {apiVersion: v1, fieldPath: metadata.annotations}}
      - {path: labels, fieldRef: {apiVersion: v1, fieldPath: metadata.labels}}
- name: highwater-run
  emptyDir: {sizeLimit: 64Mi}
{{- $credentials := .w.credentials | default .g.credentials }}
- name: highwater-credentials
{{- if eq ($credentials.type | default "secret") "csi" }}
  csi: {driver: secrets-store.csi.k8s.io, readOnly: true, volumeAttributes: {secretProviderClass: {{ $credentials.name }}}}
{{- else }}
  secret: {secretName: {{ $credentials.name }}, defaultMode: 288}
{{- end }}
{{- with .g.identitySecret }}
- name: highwater-identity
  secret: {secretName: {{ . }}, defaultMode: 288}
{{- end }}
{{- end -}}
