{{- define "codepipeline.labels" -}}
app.kubernetes.io/name: codepipeline
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "codepipeline.selector" -}}
app.kubernetes.io/name: codepipeline
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .part }}
{{- end }}

{{- define "codepipeline.serviceAccount" -}}
{{ .Values.serviceAccount.name | default (printf "%s-codepipeline" .Release.Name) }}
{{- end }}

{{/* A Deployment of the gateway or of reconcile: root, part, values, command, ports, probe. */}}
{{- define "codepipeline.deployment" -}}
{{- $root := .root }}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ $root.Release.Name }}-{{ .part }}
  labels:
    {{- include "codepipeline.labels" $root | nindent 4 }}
    app.kubernetes.io/component: {{ .part }}
spec:
  replicas: {{ .values.replicas }}
  selector:
    matchLabels:
      {{- include "codepipeline.selector" . | nindent 6 }}
  template:
    metadata:
      labels:
        {{- include "codepipeline.labels" $root | nindent 8 }}
        app.kubernetes.io/component: {{ .part }}
    spec:
      serviceAccountName: {{ include "codepipeline.serviceAccount" $root }}
      # Neither asks Kubernetes for anything.
      automountServiceAccountToken: false
      # Else a service named prefect-… gives each pod variables that look like Prefect's settings.
      enableServiceLinks: false
      terminationGracePeriodSeconds: 30
      securityContext:
        runAsNonRoot: true
        runAsUser: 10001
        runAsGroup: 10001
        fsGroup: 10001
        seccompProfile: {type: RuntimeDefault}
      {{- with $root.Values.imagePullSecrets }}
      imagePullSecrets: {{ toYaml . | nindent 8 }}
      {{- end }}
      {{- with $root.Values.nodeSelector }}
      nodeSelector: {{ toYaml . | nindent 8 }}
      {{- end }}
      {{- with $root.Values.tolerations }}
      tolerations: {{ toYaml . | nindent 8 }}
      {{- end }}
      {{- with $root.Values.affinity }}
      affinity: {{ toYaml . | nindent 8 }}
      {{- end }}
      containers:
        - name: {{ .part }}
          image: "{{ required "image.repository: the image of `make image`, in a registry" $root.Values.image.repository }}:{{ $root.Values.image.tag | default $root.Chart.AppVersion }}"
          imagePullPolicy: {{ $root.Values.image.pullPolicy }}
          args: {{ toYaml .command | nindent 12 }}
          securityContext:
            allowPrivilegeEscalation: false
            readOnlyRootFilesystem: true
            capabilities: {drop: [ALL]}
          env:
            - {name: PREFECT_API_URL, value: {{ required "prefect.apiUrl: the address of Prefect's API" $root.Values.prefect.apiUrl | quote }}}
            {{- with $root.Values.prefect.uiUrl }}
            - {name: PREFECT_UI_URL, value: {{ . | quote }}}
            {{- end }}
            - {name: PREFECT_CLIENT_RETRY_EXTRA_CODES, value: "500"}
            - {name: PREFECT_CODEPIPELINE_METRICS_PORT, value: {{ $root.Values.metricsPort | quote }}}
            - {name: PREFECT_CODEPIPELINE_METRICS_HOST, value: "0.0.0.0"}
            {{- if $root.Values.prefect.caSecret }}
            - {name: PREFECT_API_SSL_CERT_FILE, value: /etc/prefect-ca/ca.crt}
            {{- end }}
            {{- range $name, $value := $root.Values.env }}
            - {name: {{ $name }}, value: {{ $value | quote }}}
            {{- end }}
          {{- if or $root.Values.prefect.existingSecret $root.Values.awsSecret }}
          envFrom:
            {{- with $root.Values.prefect.existingSecret }}
            - secretRef: {name: {{ . }}}
            {{- end }}
            {{- with $root.Values.awsSecret }}
            - secretRef: {name: {{ . }}}
            {{- end }}
          {{- end }}
          ports:
            {{- range $name, $port := .ports }}
            - {name: {{ $name }}, containerPort: {{ $port }}}
            {{- end }}
            - {name: metrics, containerPort: {{ $root.Values.metricsPort }}}
          # Both answer while Prefect is away: another start would not help.
          startupProbe:
            httpGet: {path: /health, port: metrics}
            periodSeconds: 3
            failureThreshold: 40
          livenessProbe:
            httpGet: {path: /health, port: metrics}
            periodSeconds: 20
            timeoutSeconds: 5
          {{- with .readiness }}
          readinessProbe: {{ toYaml . | nindent 12 }}
          {{- end }}
          resources: {{ toYaml .values.resources | nindent 12 }}
          volumeMounts:
            - {name: home, mountPath: /home/codepipeline}
            - {name: tmp, mountPath: /tmp}
            {{- if $root.Values.prefect.caSecret }}
            - {name: ca, mountPath: /etc/prefect-ca, readOnly: true}
            {{- end }}
      volumes:
        - {name: home, emptyDir: {}}
        - {name: tmp, emptyDir: {}}
        {{- with $root.Values.prefect.caSecret }}
        - {name: ca, secret: {secretName: {{ . }}}}
        {{- end }}
{{- if .values.podDisruptionBudget }}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ $root.Release.Name }}-{{ .part }}
  labels:
    {{- include "codepipeline.labels" $root | nindent 4 }}
spec:
  # A drain goes on with one replica too; with more, one at a time leaves.
  maxUnavailable: 1
  selector:
    matchLabels:
      {{- include "codepipeline.selector" . | nindent 6 }}
{{- end }}
{{- end }}
