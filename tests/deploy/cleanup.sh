#!/bin/sh
# Waits until its standard input ends, that is until the test is over, however it ends; then removes
# everything of it:  cleanup.sh NAME
trap '' INT TERM HUP
name=$1
cat >/dev/null
each() {
    docker "$1" ls -q --filter "label=com.docker.compose.project=$name"
}
docker ps -aq --filter "label=com.docker.compose.project=$name" | xargs -r docker rm -fv
docker ps -aq --filter "label=causeway.test=$name" | xargs -r docker rm -fv
each volume | xargs -r docker volume rm -f
each network | xargs -r docker network rm
# What others were made from goes after them.
for _ in 1 2 3 4 5 6; do
    images=$(docker images -aq --filter "label=causeway.test=$name" | sort -u)
    [ -n "$images" ] || break
    # shellcheck disable=SC2086
    docker rmi -f $images
done
