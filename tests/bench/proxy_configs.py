"""What nginx and HAProxy are told: as for streaming jobs, with kept connections, one worker, and a line per request."""

# Buffers as one would set them for such bodies: with nginx's own, frames cost it more. An answer of a stream is passed
# on at once, any other by buffers of its own size; neither is ever put on disk.
NGINX = """\
daemon off;
worker_processes 1;
worker_rlimit_nofile 20000;
pid {folder}/nginx.pid;
error_log {folder}/nginx.error;
{user}
events {{ worker_connections 8192; }}
http {{
  access_log {log};
  client_body_temp_path {folder}/nginx.body;
  proxy_temp_path {folder}/nginx.proxy;
  fastcgi_temp_path {folder}/nginx.fastcgi;
  uwsgi_temp_path {folder}/nginx.uwsgi;
  scgi_temp_path {folder}/nginx.scgi;
  keepalive_requests 1000000000;
  keepalive_timeout 90s;
  client_max_body_size 0;
  client_body_buffer_size 128k;
  tcp_nodelay on;
  upstream runner {{
    server 127.0.0.1:{backend};
    keepalive 512;
    keepalive_requests 1000000000;
  }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    proxy_request_buffering off;
    proxy_buffers 16 64k;
    proxy_busy_buffers_size 512k;
    proxy_max_temp_file_size 0;
    location / {{ proxy_pass http://runner; }}
    location /models/bench/echo/sse {{
      proxy_pass http://runner;
      proxy_buffering off;
    }}
    location /models/bench/echo/ws {{
      proxy_pass http://runner;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection "Upgrade";
    }}
  }}
}}
"""

# Without http-no-delay an event would wait 200 ms for the next.
HAPROXY = """\
global
  nbthread 1
  maxconn 4096
  log stdout format raw daemon
defaults
  mode http
  log global
  option httplog
  {splice}
  http-reuse always
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  timeout tunnel 60s
  timeout http-keep-alive 90s
frontend jobs
  bind 127.0.0.1:{port} backlog 4096
  use_backend streams if {{ path_beg /models/bench/echo/sse }}
  default_backend runner
backend runner
  server runner 127.0.0.1:{backend}
backend streams
  option http-no-delay
  server runner 127.0.0.1:{backend}
"""
SPLICE = "option splice-request\n  option splice-response"
