#!/bin/bash
# schema.sh SOCKET MARK: make each service's databases and their tables, three chains at once, then the mark.
# A database belongs to the system user of its service, whom the server knows by the socket: there is no password.
set -euo pipefail
socket=$1 mark=$2

databases() {
  local user name
  while read -r user names; do
    echo "create user if not exists '$user'@localhost identified via unix_socket;"
    for name in $names; do
      echo "create database if not exists $name character set utf8mb3; grant all on $name.* to '$user'@localhost;"
    done
  done <<'END'
keystone keystone
glance glance
placement placement
nova nova nova_api nova_cell0
neutron neutron
cinder cinder
END
}

url() { echo "mysql+pymysql://$1@localhost/$2?unix_socket=$socket&charset=utf8"; }

# as USER DATABASE COMMAND...
as() {
  local user=$1 database=$2
  shift 2
  local said
  said=$(runuser -u "$user" -- env OS_DATABASE__CONNECTION="$(url "$user" "$database")" OS_API_DATABASE__CONNECTION="$(url nova nova_api)" \
    OS_PLACEMENT_DATABASE__CONNECTION="$(url placement placement)" "$@" 2>&1) || { printf '%s: %s\n' "$*" "${said: -1500}" >&2; return 1; }
  printf '%s\n' "$said"
}

identity() {
  as keystone keystone keystone-manage db_sync
  as glance glance glance-manage db_sync
  as placement placement placement-manage db sync
  as cinder cinder cinder-manage db sync
}

network() { as neutron neutron neutron-db-manage upgrade heads; }

# The broker's address in a cell is a pattern: nova fills it in from its configuration, so the tables hold no secret.
compute() {
  export OS_DEFAULT__TRANSPORT_URL=rabbit://any:any@127.0.0.1:5672/ # for the pattern to be tried with
  as nova nova nova-manage api_db sync
  as nova nova nova-manage cell_v2 map_cell0 --database_connection "$(url nova nova_cell0)"
  as nova nova nova-manage cell_v2 list_cells | grep -q ' cell1 ' || as nova nova nova-manage cell_v2 create_cell --name cell1 \
    --database_connection "$(url nova nova)" --transport-url 'rabbit://{username}:{password}@{hostname}:{port}/'
  as nova nova nova-manage db sync
}

databases | mariadb --no-defaults -S "$socket" -u root
cd /
pids=()
for chain in identity network compute; do
  "$chain" >/dev/null &
  pids+=($!)
done
for pid in "${pids[@]}"; do wait "$pid"; done
touch "$mark"
