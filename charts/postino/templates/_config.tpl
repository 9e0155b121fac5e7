{{/*
A table as TOML, its sub-tables after its own keys: (dict "path" "queue" "table" …). Helm reads all
numbers of a values file as floats, and its own toToml writes them so ("64.0"), which no counter
of the binary takes: whole numbers are written as such here.
*/}}
{{- define "postino.toml" -}}
{{- $path := .path -}}
{{- $own := "" -}}
{{- $tables := "" -}}
{{- range $key, $value := .table -}}
{{- if kindIs "map" $value -}}
{{- $inner := ternary $key (printf "%s.%s" $path $key) (eq $path "") -}}
{{- $tables = printf "%s%s" $tables (include "postino.toml" (dict "path" $inner "table" $value)) -}}
{{- else if kindIs "float64" $value -}}
{{- $own = printf "%s%s = %s\n" $own $key (ternary (printf "%d" (int64 $value)) (toString $value) (eq $value (floor $value))) -}}
{{- else if not (kindIs "invalid" $value) -}}
{{- $own = printf "%s%s = %s\n" $own $key (toJson $value) -}}
{{- end -}}
{{- end -}}
{{- if and $own $path -}}
{{- printf "\n[%s]\n" $path -}}
{{- end -}}
{{- $own -}}
{{- $tables -}}
{{- end -}}

{{/*
The settings of a role: (list $ "ingress" "all"). All that were chosen, of all roles, because every
process checks how they fit together. With "own" instead only the sections that the role reads: when
these are others than before, its pods must start anew.
*/}}
{{- define "postino.config" -}}
{{- $ := index . 0 -}}
{{- $role := index . 1 -}}
{{- $which := index . 2 -}}
{{- $any := ternary "[::]" "0.0.0.0" (or (eq $.Values.network.ipFamily "IPv6") $.Values.network.dualStack) -}}
{{- $full := include "postino.fullname" $ -}}
{{- $listen := dict "http" (printf "%s:2080" $any) -}}
{{- if eq $role "ingress" -}}
{{- $listen = merge $listen (dict "smtp" (printf "%s:2525" $any) "submission" (printf "%s:2587" $any) "submissions" (printf "%s:2465" $any) "admin" "off") -}}
{{- else if eq $role "access" -}}
{{- $listen = merge $listen (dict "imap" (printf "%s:2143" $any) "imaps" (printf "%s:2993" $any) "pop3" (printf "%s:2110" $any) "pop3s" (printf "%s:2995" $any) "admin" "off") -}}
{{- end -}}
{{- $net := dict "drain" (printf "%ds" (int $.Values.drainSeconds)) -}}
{{- with $.Values.proxyProtocol.trustedNetworks }}{{- $net = set $net "proxy_protocol_from" . }}{{- end -}}
{{- $telemetry := dict "log" $.Values.telemetry.log "format" $.Values.telemetry.logFormat "sampling" $.Values.telemetry.sampling -}}
{{- with include "postino.otlpEndpoint" $ }}{{- $telemetry = set $telemetry "otlp_endpoint" . }}{{- end -}}
{{- $own := dict
      "hostname" $.Values.hostname
      "data" "/var/lib/postino/postino-data"
      "listen" $listen
      "grpc" (dict "insecure" $.Values.grpc.insecure)
      "net" $net
      "telemetry" $telemetry
      "store_client" (dict "endpoints" (include "postino.storeEndpoints" $ | fromJsonArray)) -}}
{{- $sections := list "store_client" "net" "grpc" "telemetry" -}}
{{- if eq $role "store" -}}
{{- /* What a new credential costs is said by the store. */ -}}
{{- $sections = concat $sections (list "store" "auth") -}}
{{- $own = set $own "store" (dict "shards" (int $.Values.cluster.shards) "join" (include "postino.storeEndpoints" $ | fromJsonArray)) -}}
{{- else if eq $role "routing" -}}
{{- $sections = append $sections "routing" -}}
{{- with $.Values.postmaster }}{{- $own = set $own "routing" (dict "postmaster" .) }}{{- end -}}
{{- else -}}
{{- $sections = concat $sections (list $role) -}}
{{- if ne $role "access" -}}
{{- $sections = append $sections "routing_client" -}}
{{- $own = set $own "routing_client" (dict "endpoints" (list (printf "http://%s-routing.%s:2090" $full (include "postino.domain" $)))) -}}
{{- end -}}
{{- if ne $role "queue" -}}
{{- $sections = append $sections "auth" -}}
{{- if not $.Values.tls.selfSigned -}}
{{- $own = set $own "tls" (dict "certificate" "/etc/postino/tls/tls.crt" "key" "/etc/postino/tls/tls.key") -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $chosen := $.Values.config -}}
{{- if eq $which "own" -}}
{{- $chosen = dict -}}
{{- range $section, $settings := $.Values.config -}}
{{- if has $section $sections }}{{- $chosen = set $chosen $section $settings }}{{- end -}}
{{- end -}}
{{- end -}}
{{- include "postino.toml" (dict "path" "" "table" (mergeOverwrite (deepCopy $chosen) $own)) -}}
{{- end -}}
