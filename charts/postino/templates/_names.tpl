{{- define "postino.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "postino.selector" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{/* Labels of every object: (list $ "component"). */}}
{{- define "postino.labels" -}}
{{- $ := index . 0 -}}
{{ include "postino.selector" $ }}
app.kubernetes.io/component: {{ index . 1 }}
app.kubernetes.io/version: {{ $.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: postino
app.kubernetes.io/managed-by: {{ $.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $.Chart.Name $.Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* Labels of pods: those, but for what would restart them without a change of theirs. */}}
{{- define "postino.podLabels" -}}
{{- omit (include "postino.labels" . | fromYaml) "helm.sh/chart" | toYaml -}}
{{- end -}}

{{- define "postino.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ default $.Chart.AppVersion .tag }}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "postino.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "postino.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "postino.domain" -}}
{{ .Release.Namespace }}.svc.{{ .Values.clusterDomain }}
{{- end -}}

{{/* The gRPC endpoints of the store pods, as a JSON list. Each pod has a name of its own. */}}
{{- define "postino.storeEndpoints" -}}
{{- $name := printf "%s-store" (include "postino.fullname" .) -}}
{{- $list := list -}}
{{- range $n := until (int .Values.store.replicas) -}}
{{- $list = append $list (printf "http://%s-%d.%s.%s:2090" $name $n $name (include "postino.domain" $)) -}}
{{- end -}}
{{- $list | toJson -}}
{{- end -}}

{{- define "postino.otlpEndpoint" -}}
{{- if .Values.telemetry.otlpEndpoint -}}
{{- .Values.telemetry.otlpEndpoint -}}
{{- else if .Values.jaeger.enabled -}}
http://{{ include "postino.fullname" . }}-jaeger.{{ include "postino.domain" . }}:4317
{{- end -}}
{{- end -}}

{{- define "postino.tlsSecret" -}}
{{- if .Values.tls.existingSecret -}}
{{- .Values.tls.existingSecret -}}
{{- else if not .Values.tls.selfSigned -}}
{{- include "postino.fullname" . }}-tls
{{- end -}}
{{- end -}}
