# What a task sees of its world, one fact a line; each line begins with the name of its section.
say() { while read -r line; do echo "$1: $line"; done; }
# Without sizes and times.
list() {
    ls -ln "$@" 2>&1 | grep -v ^total | sed -E 's/ +/ /g; s/^([^ ]+) [0-9]+ /\1 /; s/ [A-Z][a-z]{2} [0-9]+ [0-9:]+ / /; s/^([^cb ][^ ]* [0-9]+ [0-9]+) [0-9]+ /\1 /'
}
id | say id
umask | say umask
hostname | say hostname
pwd | say pwd
env | sort | say env
tr '\0' ' ' < /proc/1/cmdline | head -n 1 | cut -d ' ' -f 1-3 | say "first process"
grep -E '^(Cap...|Seccomp|NoNewPrivs|Groups|Uid|Gid|SigBlk)' /proc/self/status | say status
cat /proc/self/oom_score_adj | say "oom score"
say limits < /proc/self/limits
cut -d ' ' -f 5- /proc/self/mountinfo | sed -E 's/(lower|upper|work)dir=[^, ]*/DIR/g; s/ master:[0-9]+//' | sort | say mount
for file in /etc/hosts /etc/resolv.conf /etc/hostname; do sed -E 's/172\.[0-9.]+/ADDRESS/' $file | say $file; done
for place in / /dev /etc /run /run/secrets /tmp /sys/fs/cgroup; do list -d $place | say "ls -ld"; done
list /dev | say dev
list / | say root
list -R /run/secrets | say secrets
list /c /other /v /t /t/inner /made | say mounted
list -R /data /srv /home | say data
touch /data/written 2>&1 | say data
for file in memory/memory.limit_in_bytes memory/memory.soft_limit_in_bytes memory/memory.memsw.limit_in_bytes \
    memory/memory.swappiness memory/memory.oom_control cpu/cpu.cfs_quota_us cpu/cpu.cfs_period_us cpu/cpu.shares \
    pids/pids.max devices/devices.list memory.max memory.low memory.swap.max cpu.max pids.max; do
    cat /sys/fs/cgroup/$file 2>&1 | sed "s|^|$file |" | say cgroup
done
for file in net/core/somaxconn net/ipv4/ip_unprivileged_port_start net/ipv4/ping_group_range net/ipv4/ip_forward \
    net/ipv6/conf/all/disable_ipv6 net/ipv6/conf/default/disable_ipv6 kernel/shmmax kernel/msgmax; do
    sed "s|^|$file |" /proc/sys/$file 2>&1 | say sysctl
done
cut -d ' ' -f 1,2,4 /proc/net/route | grep -v ^docker | grep -v ^skep | sed -E 's/[0-9A-F]{8}/ADDRESS/g' | say route
ls /sys/class/net | grep -v ^veth | grep -v ^sk | say interface
ls -l /proc/self/ns | sed 's/.*-> //; s/\[.*//' | say namespace
test -t 0 && echo "terminal: stdin"
test -t 1 && echo "terminal: stdout"
readlink /proc/self/fd/0 | say stdin
mknod /tmp/node c 1 3 2>&1 | say mknod
touch /written 2>&1 | say write
mount -t tmpfs none /tmp 2>&1 | say mount
chown 7 /tmp/own 2>&1 | say chown
unshare -U true 2>&1 | say unshare
ping -c 1 -W 1 127.0.0.1 2>&1 | grep -c 'bytes from' | say ping
cat /proc/kcore 2>&1 | head -c 1 | wc -c | say kcore
cat /proc/timer_list 2>&1 | head -c 1 | wc -c | say timers
echo 1 2>&1 > /proc/sys/vm/drop_caches | say drop
ls /sys/firmware 2>&1 | say firmware
echo 1000000 2>&1 > /sys/fs/cgroup/memory/memory.limit_in_bytes | say "own limit"
mkdir /sys/fs/cgroup/memory/mine 2>&1 | say "own group"
/c 2>&1 | say script
mknod /tmp/tun c 10 200 2>&1 && cat < /tmp/tun 2>&1 | say tun
(nc -l -p 80 -w 1 2>&1; echo ended) | say "low port"
echo over
