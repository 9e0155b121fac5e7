{{/* What is refused before anything is rendered. */}}
{{- define "postino.guards" -}}
{{- $full := include "postino.fullname" . -}}
{{- if not .Values.hostname -}}
{{- fail "\n\nhostname is not set: the name of the mail server, which your MX records point to.\n  helm … --set hostname=mail.example.org" -}}
{{- end -}}
{{- if not .Values.grpc.insecure -}}
{{- fail "\n\nThe services of Postino talk gRPC without TLS and without authentication until mTLS has landed. Whoever reaches port 2090 of a pod reads every mailbox. If the pod network is closed to others, and your network plugin enforces network policies, accept that:\n  helm … --set grpc.insecure=true" -}}
{{- end -}}
{{- $tls := list -}}
{{- with .Values.tls -}}
{{- if .existingSecret }}{{- $tls = append $tls "existingSecret" }}{{- end -}}
{{- if .certManager.enabled }}{{- $tls = append $tls "certManager" }}{{- end -}}
{{- if or .certificate .key }}{{- $tls = append $tls "certificate and key" }}{{- end -}}
{{- if .selfSigned }}{{- $tls = append $tls "selfSigned" }}{{- end -}}
{{- end -}}
{{- if ne (len $tls) 1 -}}
{{- fail (printf "\n\ntls: exactly one of existingSecret, certManager.enabled, certificate and key, selfSigned must be set; set now: %s" (join ", " $tls | default "none")) -}}
{{- end -}}
{{- if and (or .Values.tls.certificate .Values.tls.key) (not (and .Values.tls.certificate .Values.tls.key)) -}}
{{- fail "\n\ntls.certificate and tls.key must be set together" -}}
{{- end -}}
{{- if and .Values.tls.certManager.enabled (not .Values.tls.certManager.issuerRef.name) -}}
{{- fail "\n\ntls.certManager.issuerRef.name is not set" -}}
{{- end -}}
{{- range $tier := list "routing" "queue" "ingress" "access" -}}
{{- with index $.Values $tier "autoscaling" -}}
{{- if and .enabled (gt (int .minReplicas) (int .maxReplicas)) -}}
{{- fail (printf "\n\n%s.autoscaling: minReplicas is greater than maxReplicas" $tier) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and .Values.gateway.enabled (not .Values.gateway.name) -}}
{{- fail "\n\ngateway.name is not set: the Gateway whose listeners the TCPRoutes attach to" -}}
{{- end -}}
{{- include "postino.guards.upgrade" (dict
      "values" .Values "name" (printf "%s-store" $full) "namespace" .Release.Namespace
      "set" (lookup "apps/v1" "StatefulSet" .Release.Namespace (printf "%s-store" $full))
      "config" (lookup "v1" "ConfigMap" .Release.Namespace (printf "%s-config" $full))) -}}
{{- end -}}

{{/*
What would hurt the store that is there: "set" is its StatefulSet, "config" its ConfigMap, both empty
if there are none. The ConfigMap remembers replicas and shards while a StatefulSet is made anew.
*/}}
{{- define "postino.guards.upgrade" -}}
{{- $values := .values -}}
{{- $noted := dig "metadata" "annotations" (dict) (.config | default dict) | default dict -}}
{{- $replicas := dig "spec" "replicas" 0 (.set | default dict) | default (index $noted "postino/store-replicas") | default 0 | int -}}
{{- if lt (int $values.store.replicas) $replicas -}}
{{- fail (printf "\n\nstore.replicas: %d -> %d is refused: pods that are taken away take their votes with them, and the store would lose its majority or letters.\nTheir nodes must first leave the cluster (postino cluster drain NODE, then remove NODE, for the last pods). Then\n  kubectl -n %s scale statefulset %s --replicas=%d\nand this upgrade again; or keep\n  --set store.replicas=%d" $replicas (int $values.store.replicas) .namespace .name (int $values.store.replicas) $replicas) -}}
{{- end -}}
{{- $shards := index $noted "postino/shards" | default 0 | int -}}
{{- if and $shards (ne (int $values.cluster.shards) $shards) -}}
{{- fail (printf "\n\ncluster.shards: %d -> %d is refused: the number of shards is fixed when the cluster is made, and decides where mail is looked for. Keep\n  --set cluster.shards=%d" $shards (int $values.cluster.shards) $shards) -}}
{{- end -}}
{{- if .set -}}
{{- $claims := dig "spec" "volumeClaimTemplates" (list) .set -}}
{{- if ne (len $claims) 1 -}}
{{- fail (printf "\n\nThe StatefulSet %s has %d volume claim templates, and this chart makes one: it is not this chart's. Another release name, or\n  kubectl -n %s get statefulset %s -o yaml" .name (len $claims) .namespace .name) -}}
{{- end -}}
{{- $claim := (first $claims).spec -}}
{{- $want := $values.store.persistence -}}
{{- $again := printf "  kubectl -n %s delete statefulset %s --cascade=orphan\nand then this upgrade again; the pods and their volumes stay" .namespace .name -}}
{{- $size := dig "resources" "requests" "storage" "" $claim -}}
{{- if ne $size $want.size -}}
{{- fail (printf "\n\nstore.persistence.size: %s -> %s: a StatefulSet cannot change the volumes it has made. Grow them, if their class allows it:\n  kubectl -n %s get pvc -o name -l app.kubernetes.io/component=store | xargs -I{} kubectl -n %s patch {} -p '{\"spec\":{\"resources\":{\"requests\":{\"storage\":\"%s\"}}}}'\n%s" $size $want.size .namespace .namespace $want.size $again) -}}
{{- end -}}
{{- if and $want.storageClassName (ne $want.storageClassName (dig "storageClassName" "" $claim)) -}}
{{- fail (printf "\n\nstore.persistence.storageClassName: %q -> %q is refused: volumes do not move to another class. Keep the old one" (dig "storageClassName" "" $claim) $want.storageClassName) -}}
{{- end -}}
{{- if ne (toJson $want.accessModes) (toJson (dig "accessModes" (list) $claim)) -}}
{{- fail (printf "\n\nstore.persistence.accessModes: a StatefulSet cannot change them. Keep %s, or\n%s" (toJson (dig "accessModes" (list) $claim)) $again) -}}
{{- end -}}
{{- end -}}
{{- end -}}
