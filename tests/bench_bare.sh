#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# The main job by hand, as a script of the bare commands: what `make bench` measures the playbook against.
# Usage: bench_bare.sh LAB_ROOT NETWORK   (a lab made by lab_up.yml; its programs are used, its hosts' directories are not)
set -euo pipefail
lab=$1 net=$2
work=$lab/bare
id=0cedae45-3d6e-4d90-b2cb-56f1a1a42a89 vm=1f4e2c1e-9f43-4a6e-8c8a-1b1d5c9e0a01
mkdir -p "$work"
trap 'kill $(jobs -p) 2>/dev/null; wait 2>/dev/null || true' EXIT

until_true() { # command, at most 60 s
    local end=$((SECONDS + 60))
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt $end ] || { echo "gave up waiting for: $*" >&2; exit 1; }
    done
}
api() { curl --silent --show-error --fail --max-time 60 --header 'api-version: 5.0.0' --header 'content-type: application/json' "$@"; }
disk() { # generation: the volume construction request as a JSON string
    printf '{\\"type\\":\\"volume\\",\\"id\\":\\"%s\\",\\"block_size\\":512,\\"sub_volumes\\":[{\\"type\\":\\"region\\",\\"block_size\\":512,\\"blocks_per_extent\\":8192,\\"extent_count\\":3,\\"opts\\":{\\"id\\":\\"%s\\",\\"target\\":[\\"%s.11:8810\\",\\"%s.12:8820\\",\\"%s.13:8830\\"],\\"lossy\\":false,\\"read_only\\":false},\\"gen\\":%s}]}' \
        $id $id "$net" "$net" "$net" "$1"
}
properties='{"id":"'$vm'","name":"vm0","description":"","metadata":{"silo_id":"'$id'","project_id":"'$id'","sled_id":"'$id'","sled_serial":"s","sled_revision":1,"sled_model":"m"}}'
state_is() { api "http://$net.$1:8000/instance" | grep -q "\"state\":\"$2\""; }

for n in 1 2 3; do
    "$lab/bin/crucible-downstairs" create --data "$work/r$n" --uuid 47669d15-9004-59d9-9c28-10bdf2c59ee$n --block-size 512 \
        --extent-size 8192 --extent-count 3 --import-path "$lab/share/lab.raw" >"$work/create$n.log"
done
for n in 1 2 3; do
    "$lab/bin/crucible-downstairs" run -d "$work/r$n" -a "$net.1$n" -p "88${n}0" >"$work/run$n.log" 2>&1 &
done
for n in 1 2; do
    (cd "$work" && exec "$lab/bin/propolis-server" run "$lab/share/OVMF_CODE.fd" "$net.$n:8000") >"$work/server$n.log" 2>&1 &
done
for n in 1 2 3; do until_true curl --silent --fail "http://$net.1$n:128${n}0/region-info"; done
for n in 1 2; do until_true curl --silent "http://$net.$n:8000/instance"; done

api -X PUT "http://$net.1:8000/instance" -d '{"properties":'"$properties"',"init":{"method":"Spec","value":{"spec":{"board":{"cpus":4,"memory_mb":1024,"chipset":{"type":"i440_fx","value":{"enable_pcie":false}}},"components":{"com1":{"type":"serial_port","component":{"num":"com1"}},"d":{"type":"virtio_disk","component":{"backend_id":"d-backend","pci_path":{"bus":0,"device":17,"function":0}}},"d-backend":{"type":"crucible_storage_backend","component":{"request_json":"'"$(disk 1)"'","readonly":false}}}}}}}' >/dev/null
api -X PUT "http://$net.1:8000/instance/state" -d '"Run"'
until_true state_is 1 Running
for n in 1 2 3; do "$lab/bin/crucible-downstairs" dump -d "$work/r$n" --no-color >"$work/dump$n.txt"; done
api -X PUT "http://$net.2:8000/instance" -d '{"properties":'"$properties"',"init":{"method":"MigrationTarget","value":{"migration_id":"3a1f7a52-0d0f-4f8e-9b7b-5d4f4a0c1c03","src_addr":"'"$net"'.1:8000","replace_components":{"d-backend":{"component":"CrucibleStorageBackend","spec":{"request_json":"'"$(disk 2)"'","readonly":false}}}}}}' >/dev/null
until_true state_is 2 Running
until_true state_is 1 Destroyed
