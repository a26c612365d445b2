{{- /* Labels of every object. */ -}}
{{- define "postern-relay.labels" -}}
app.kubernetes.io/name: postern-relay
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: postern
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- /* What selects the pods. It can never be changed. */ -}}
{{- define "postern-relay.selector" -}}
app.kubernetes.io/name: postern-relay
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "postern-relay.image" -}}
{{- with .Values.image }}
{{- if .digest }}{{ .repository }}@{{ .digest }}
{{- else }}{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}
{{- end }}
{{- end }}
{{- end }}

{{- /* One variable of the environment, when it has a value. */ -}}
{{- define "postern-relay.env" -}}
{{- $name := index . 0 }}
{{- with index . 1 }}
- name: POSTERN_{{ $name }}
  value: {{ . | quote }}
{{- end }}
{{- end }}

{{- /* What a relay is told when it starts. All else it learns from its settings. */ -}}
{{- define "postern-relay.environment" -}}
- name: POD_NAME
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
- {name: POSTERN_SETTINGS, value: /settings}
- {name: POSTERN_SPOOL, value: /spool}
- {name: POSTERN_CONTROL, value: /run/postern/control.sock}
- {name: POSTERN_SMTP, value: {{ printf "%s:2525" .Values.listenAddress | quote }}}
{{- if .Values.submissions.enabled }}
- {name: POSTERN_SMTPS, value: {{ printf "%s:4650" .Values.listenAddress | quote }}}
{{- end }}
- {name: POSTERN_HTTP, value: {{ printf "%s:8025" .Values.listenAddress | quote }}}
{{- if .Values.certificates }}
- {name: POSTERN_TLS, value: /tls}
{{- end }}
{{- include "postern-relay.env" (list "HOSTNAME" .Values.hostname) }}
{{- include "postern-relay.env" (list "PROXY_FROM" (join "," .Values.proxyFrom)) }}
{{- include "postern-relay.env" (list "NEVER_SOURCE" (join "," .Values.neverSource)) }}
{{- include "postern-relay.env" (list "MX_ALLOW" (join "," .Values.mxAllow)) }}
{{- include "postern-relay.env" (list "DNS" (join "," .Values.dns)) }}
{{- include "postern-relay.env" (list "CANARY" .Values.canary) }}
- {name: POSTERN_LOG, value: {{ .Values.log.level | quote }}}
- {name: POSTERN_LOG_FORMAT, value: {{ .Values.log.format }}}
- {name: POSTERN_DRAIN_ACCEPT_TIME, value: {{ int .Values.drain.acceptSeconds }}s}
- {name: POSTERN_DRAIN_TIME, value: {{ int .Values.drain.finishSeconds }}s}
{{- range $name, $value := .Values.limits }}
- {name: POSTERN_{{ $name | upper | replace "-" "_" }}, value: {{ kindIs "string" $value | ternary $value (int64 $value | toString) | quote }}}
{{- end }}
{{- end }}
