#!/bin/sh
# Takes out of a virtual environment what gateway, scheduler and Ray workers never load: `slim.sh VENV`.
# Ray is more than half of their image, and of it only the core is used.
set -eu

packages=$(echo "$1"/lib/python3.*/site-packages)

for unused in jars rllib data serve train tune llm air dashboard/client; do
    rm -rf "$packages/ray/$unused"
done
find "$packages" -type d -name tests -prune -exec rm -rf {} +
# Ray's own binaries alone: wheels that carry libraries of others have patched theirs, and strip breaks those.
strip --strip-unneeded \
    "$packages/ray/_raylet.so" "$packages/ray/core/src/ray/raylet/raylet" "$packages/ray/core/src/ray/gcs/gcs_server"
