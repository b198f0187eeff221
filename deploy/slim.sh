#!/bin/sh
# Takes out of a virtual environment what gateway, scheduler and Ray workers never load: `slim.sh VENV`.
# Ray is more than half of their image, and of it only the core is used.
set -eu

packages=$(echo "$1"/lib/python3.*/site-packages)

for unused in jars rllib data serve train tune llm air dashboard/client; do
    rm -rf "$packages/ray/$unused"
done
# Of Pillow, what writes text into pictures, applies colour profiles, reads AVIF or draws on a screen.
for unused in avif imagingft imagingcms imagingtk; do
    rm -f "$packages"/PIL/_"$unused".*.so
done
for unused in avif freetype harfbuzz png16 brotlidec brotlicommon lcms2; do
    rm -f "$packages"/pillow.libs/lib"$unused"-*.so.*
done
find "$packages" -type d -name tests -prune -exec rm -rf {} +
# Ray's own binaries alone: wheels that carry libraries of others have patched theirs, and strip breaks those.
strip --strip-unneeded \
    "$packages/ray/_raylet.so" "$packages/ray/core/src/ray/raylet/raylet" "$packages/ray/core/src/ray/gcs/gcs_server"
