{{- /* Labels of every object. */ -}}
{{- define "postern-operator.labels" -}}
app.kubernetes.io/name: postern-operator
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: postern
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- /* What selects the pods. It can never be changed. */ -}}
{{- define "postern-operator.selector" -}}
app.kubernetes.io/name: postern-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "postern-operator.image" -}}
{{- with .Values.image }}
{{- if .digest }}{{ .repository }}@{{ .digest }}
{{- else }}{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}
{{- end }}
{{- end }}
{{- end }}
