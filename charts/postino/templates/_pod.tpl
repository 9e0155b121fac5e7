{{/* A tier's values with the defaults of all pods under them: (list $ "ingress"), as JSON. */}}
{{- define "postino.tier" -}}
{{- $ := index . 0 -}}
{{- $tier := index $.Values (index . 1) -}}
{{- $out := deepCopy $tier -}}
{{- range $key, $default := $.Values.podDefaults -}}
{{- $own := index $tier $key -}}
{{- if kindIs "slice" $default -}}
{{- $out = set $out $key (concat $default ($own | default list)) -}}
{{- else if and (kindIs "map" $default) (ne $key "affinity") -}}
{{- $out = set $out $key (mergeOverwrite (deepCopy $default) (deepCopy ($own | default dict))) -}}
{{- else -}}
{{- $out = set $out $key ($own | default $default) -}}
{{- end -}}
{{- end -}}
{{- $out | toJson -}}
{{- end -}}

{{- define "postino.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "postino.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/*
Where gRPC listens and is reached: (list $ "store"). The binary names itself to others by the address
that it is bound to, so that cannot be 0.0.0.0: it is the pod's. A store pod has a name that stays,
by which the others know it again when it comes back without its disk.
*/}}
{{- define "postino.env" -}}
{{- $ := index . 0 -}}
- name: POD_IP
  valueFrom:
    fieldRef:
      fieldPath: status.podIP
- name: POSTINO__LISTEN__ADMIN
  value: {{ ternary "[$(POD_IP)]:2090" "$(POD_IP):2090" (eq $.Values.network.ipFamily "IPv6") | quote }}
{{- if eq (index . 1) "store" }}
- name: POD_NAME
  valueFrom:
    fieldRef:
      fieldPath: metadata.name
- name: POSTINO__GRPC__ADVERTISE
  value: {{ printf "$(POD_NAME).%s-store.%s:2090" (include "postino.fullname" $) (include "postino.domain" $) | quote }}
{{- end }}
{{- end -}}

{{/* The ports of a tier's pods that clients come to: name to number, as JSON. */}}
{{- define "postino.clientPorts" -}}
{{- get (dict
      "ingress" (dict "smtp" 2525 "submission" 2587 "submissions" 2465)
      "access" (dict "imap" 2143 "imaps" 2993 "pop3" 2110 "pop3s" 2995)) . | default dict | toJson -}}
{{- end -}}

{{/* The pod of a tier: (list $ "ingress"). */}}
{{- define "postino.pod" -}}
{{- $ := index . 0 -}}
{{- $name := index . 1 -}}
{{- $tier := include "postino.tier" . | fromJson -}}
{{- $full := include "postino.fullname" $ -}}
{{- $front := or (eq $name "ingress") (eq $name "access") -}}
metadata:
  labels:
    {{- merge (include "postino.podLabels" . | fromYaml) $tier.podLabels | toYaml | nindent 4 }}
  annotations:
    checksum/config: {{ include "postino.config" (list $ $name "own") | sha256sum }}
    {{- if and $front $.Values.tls.certificate }}
    checksum/tls: {{ printf "%s%s" $.Values.tls.certificate $.Values.tls.key | sha256sum }}
    {{- end }}
    {{- with $tier.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ include "postino.serviceAccount" $ }}
  automountServiceAccountToken: false
  # Nothing is configured by the variables that Kubernetes would make of the services.
  enableServiceLinks: false
  {{- with $.Values.image.pullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $tier.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  securityContext:
    {{- include "postino.podSecurity" $ | nindent 4 }}
  # What comes in is drained first, then gRPC and the rest; each may take the drain time.
  terminationGracePeriodSeconds: {{ add (int $.Values.preStopSeconds) (mul 2 (int $.Values.drainSeconds)) 15 }}
  {{- with $tier.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $tier.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  affinity:
    {{- if $tier.affinity }}
    {{- toYaml $tier.affinity | nindent 4 }}
    {{- else if eq (default "" $tier.antiAffinity) "Required" }}
    podAntiAffinity:
      requiredDuringSchedulingIgnoredDuringExecution:
        - topologyKey: kubernetes.io/hostname
          labelSelector:
            matchLabels:
              {{- include "postino.selector" $ | nindent 14 }}
              app.kubernetes.io/component: {{ $name }}
    {{- else }}
    podAntiAffinity:
      preferredDuringSchedulingIgnoredDuringExecution:
        - weight: 100
          podAffinityTerm:
            topologyKey: kubernetes.io/hostname
            labelSelector:
              matchLabels:
                {{- include "postino.selector" $ | nindent 16 }}
                app.kubernetes.io/component: {{ $name }}
    {{- end }}
  topologySpreadConstraints:
    {{- if $tier.topologySpreadConstraints }}
    {{- toYaml $tier.topologySpreadConstraints | nindent 4 }}
    {{- else }}
    - maxSkew: 1
      topologyKey: topology.kubernetes.io/zone
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels:
          {{- include "postino.selector" $ | nindent 10 }}
          app.kubernetes.io/component: {{ $name }}
    {{- end }}
  containers:
    - name: postino
      image: {{ include "postino.image" $ | quote }}
      imagePullPolicy: {{ $.Values.image.pullPolicy }}
      args: [serve, --roles, {{ $name }}, --config, /etc/postino/postino.toml]
      # So that `kubectl exec POD -- postino …` finds the data directory by itself.
      workingDir: /var/lib/postino
      securityContext:
        {{- include "postino.containerSecurity" $ | nindent 8 }}
      {{- if or (not $front) $tier.extraEnv }}
      env:
        {{- if not $front }}
        {{- include "postino.env" . | nindent 8 }}
        {{- end }}
        {{- with $tier.extraEnv }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- end }}
      {{- with $tier.extraEnvFrom }}
      envFrom:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      ports:
        - {name: http, containerPort: 2080}
        {{- if not $front }}
        - {name: grpc, containerPort: 2090}
        {{- end }}
        {{- range $port, $number := include "postino.clientPorts" $name | fromJson }}
        - {name: {{ $port }}, containerPort: {{ $number }}}
        {{- end }}
      # The process listens at once and answers when all its roles have started.
      startupProbe:
        httpGet: {path: /healthz, port: http}
        periodSeconds: 5
        timeoutSeconds: 3
        failureThreshold: {{ div (add (int $tier.startupSeconds) 4) 5 }}
      # Alive is who answers, whether or not the store has a majority: a restart would not help.
      livenessProbe:
        httpGet: {path: /healthz, port: http}
        periodSeconds: 10
        timeoutSeconds: 5
        failureThreshold: 6
      # Ready is a store that knows leaders of all shards, and any other that has reached the store.
      readinessProbe:
        httpGet: {path: /readyz, port: http}
        periodSeconds: 5
        timeoutSeconds: 3
        failureThreshold: 2
      {{- if gt (int $.Values.preStopSeconds) 0 }}
      lifecycle:
        preStop:
          sleep: {seconds: {{ int $.Values.preStopSeconds }}}
      {{- end }}
      {{- with $tier.resources }}
      resources:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      volumeMounts:
        - name: config
          mountPath: /etc/postino/postino.toml
          subPath: postino.toml
          readOnly: true
        - name: data
          mountPath: /var/lib/postino/postino-data
        {{- if and $front (include "postino.tlsSecret" $) }}
        - name: tls
          mountPath: /etc/postino/tls
          readOnly: true
        {{- end }}
        {{- with $tier.extraVolumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
  volumes:
    - name: config
      configMap:
        name: {{ $full }}-config
        items:
          - {key: {{ $name }}.toml, path: postino.toml}
    {{- if ne $name "store" }}
    # The addresses of the listeners, and the certificate if the pod makes its own: no state.
    - name: data
      emptyDir:
        sizeLimit: 16Mi
    {{- end }}
    {{- if and $front (include "postino.tlsSecret" $) }}
    - name: tls
      secret:
        secretName: {{ include "postino.tlsSecret" $ }}
        defaultMode: 0440
    {{- end }}
    {{- with $tier.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end -}}
