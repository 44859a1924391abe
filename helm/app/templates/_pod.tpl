{{- define "app.pod" -}}
{{- $w := .workload -}}
{{- $d := dict "g" .durability "w" $w.durability "app" $w.name "type" $w.type "replicas" ($w.replicas | default 1) -}}
{{- include "highwater.check" $d -}}
{{- $on := include "highwater.enabled" $d -}}
metadata:
  labels:
    app.kubernetes.io/name: {{ $w.name }}
    app.kubernetes.io/part-of: {{ .name }}
{{- if $on }}
{{ include "highwater.podLabels" $d | indent 4 }}
  annotations:
{{ include "highwater.podAnnotations" $d | indent 4 }}
{{- end }}
spec:
  automountServiceAccountToken: false
{{- if $on }}
  terminationGracePeriodSeconds: 90
{{- end }}
{{- if ne $w.type "Deployment" }}
  restartPolicy: Never
{{- end }}
  securityContext:
    runAsNonRoot: true
    seccompProfile: {type: RuntimeDefault}
{{- with $w.user }}
    runAsUser: {{ . }}
    runAsGroup: {{ . }}
    fsGroup: {{ . }}
    fsGroupChangePolicy: OnRootMismatch
{{- end }}
{{- if $on }}
  initContainers:
{{ include "highwater.initContainers" $d | indent 4 }}
{{- end }}
  containers:
    - name: {{ $w.name }}
      image: "{{ $w.image.repository }}:{{ $w.image.tag }}"
{{- with $w.ports }}
      ports:
{{- range . }}
        - {name: {{ .name }}, containerPort: {{ .containerPort }}, protocol: TCP}
{{- end }}
{{- end }}
{{- range $kind, $probe := $w.probes }}
      {{ $kind }}Probe:
        httpGet: {path: {{ $probe.path }}, port: {{ $probe.port | default "http" }}}
        periodSeconds: 10
        failureThreshold: {{ if eq $kind "startup" }}18{{ else }}3{{ end }}
{{- end }}
{{- with $w.env }}
      env:
{{ toYaml . | indent 8 }}
{{- end }}
      resources:
{{ toYaml $w.resources | indent 8 }}
      securityContext:
        allowPrivilegeEscalation: false
        capabilities: {drop: [ALL]}
{{- if or $w.mounts $w.secretMounts }}
      volumeMounts:
{{- range $w.mounts }}
        - {name: {{ .name }}, mountPath: {{ .mountPath }}}
{{- end }}
{{- range $w.secretMounts }}
        - {name: {{ .name }}, mountPath: {{ .mountPath }}, readOnly: true}
{{- end }}
{{- end }}
{{- if or $w.volumes $w.secretMounts $on }}
  volumes:
{{- range $w.volumes }}
    - {name: {{ .name }}, persistentVolumeClaim: {claimName: {{ .claim }}}}
{{- end }}
{{- range $w.secretMounts }}
    - {name: {{ .name }}, csi: {driver: secrets-store.csi.k8s.io, readOnly: true, volumeAttributes: {secretProviderClass: {{ .secretProviderClass }}}}}
{{- end }}
{{- if $on }}
{{ include "highwater.volumes" $d | indent 4 }}
{{- end }}
{{- end }}
{{- end -}}
