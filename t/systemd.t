# docs/debian.md under a real systemd: its commands as they stand there, and what
# it says of changed secrets, of commands by hand, of upgrade and removal.
#
# TEST_SYSTEMD=1 runs it, as root. It makes a Debian 12 in a folder, and starts
# that one's systemd in namespaces of its own, without a network. It takes a
# minute or two, so it is not run otherwise.

use strict;
use warnings;

use lib 't/lib';

use File::Copy qw(copy);
use File::Path qw(make_path);
use MIME::Base64 qw(encode_base64);
use Test::More;
use Token::Util qw($ROOT slurp slurp_or_empty spew work_dir);

my ($cgroups) = slurp_or_empty('/proc/self/mountinfo') =~ m{ (/sys/fs/cgroup\S*) .* - cgroup2 };

plan(skip_all => 'TEST_SYSTEMD=1 starts a systemd') if !$ENV{TEST_SYSTEMD};
plan(skip_all => 'it needs root') if $> != 0;
plan(skip_all => 'not on Debian') if system('command -v dpkg-deb > /dev/null');
plan(skip_all => 'it needs control groups of version 2') if !$cgroups;
plan(tests => 37);

my $dir = work_dir();
my $root = "$dir/root";
my $page = slurp("$ROOT/docs/debian.md");
my ($conf) = $page =~ /^```nginx\n(.*?)^```$/ms;
my %blocks;

for my $section (split /^#+ (?=\w[^\n]*\n)/m, $page) {
    my ($name) = $section =~ /^([^\n]+)\n/ or next;

    $blocks{$name} = [$section =~ /^```sh\n(.*?)^```$/msg];
}

# The endpoint knows six secrets, and each token tells which one it was asked
# with. Nothing is kept in the cache.
my @secrets = ('my-secret', map { "secret-$_" } 2 .. 6);
my $known = join '', map { qq("Basic @{[encode_base64("my-key:$_", '')]}" $_; ) } @secrets;

debian();
package_files();
files();

my %said = boot();


is($said{Install}{status}, 0, 'Install: all commands') or diag($said{Install}{text});
like($said{loaded}{text}, qr{^lrwx.* 50-mod-http-token\.conf -> }m, '... the module is enabled');

is($said{Configure}{status}, 0, 'Configure: all commands') or diag($said{Configure}{text});
like($said{Configure}{text}, qr/^\{"access_token":"my-secret"\}/m, '... a token');

secret('file, put', 'my-secret', 'a file for root: a changed secret is not seen');
secret('file, reload', 'secret-2', '... until a reload');
is($said{'file, by hand'}{status}, 0, '... nginx -t by hand works');

secret('shared, put', 'secret-3', 'a file for www-data: a changed secret is used');

is($said{LoadCredential}{status}, 0, 'LoadCredential: all commands')
    or diag($said{LoadCredential}{text});
secret('credential, start', 'secret-3', '... the secret');
secret('credential, reload', 'secret-3', '... a reload does not bring a changed one');
secret('credential, daemon-reload', 'secret-3', '... nor with daemon-reload');
secret('credential, restart', 'secret-4', '... a restart does');
is($said{'credential, by hand'}{status}, 0, '... nginx -t by hand works');
isnt($said{'credential, stopped'}{status}, 0, '... and not when the service is stopped');
like($said{'credential, stopped'}{text},
    qr{open\(\) "/run/credentials/nginx\.service/token_key" .* failed \(2: No such file}, '... as it says');

secret('env file, start', 'secret-4', 'EnvironmentFile: the secret');
secret('env file, reload', 'secret-4', '... a reload does not bring a changed one');
secret('env file, restart', 'secret-5', '... a restart does');
isnt($said{'env, by hand'}{status}, 0, '... nginx -t by hand fails');
like($said{'env, by hand'}{text},
    qr/environment variable "CONSUMER_KEY" of .* is not set: a command by hand needs it/, '... and says why');
is($said{'env, reload'}{status}, 0, '... systemctl reload does not');

secret('env, restart', 'secret-5', 'Environment: a restart does not bring a changed one');
secret('env, daemon-reload', 'secret-6', '... with daemon-reload it does');

is($said{'a mistake'}{status}, 1, 'a mistake in the configuration: the reload fails');
secret('a mistake, then', 'secret-6', '... and nginx goes on');

is($said{upgrade}{status}, 0, 'Upgrade: the package');
like($said{'upgrade, version'}{text}, qr/\+99999999\./, '... a later one is an upgrade');
like($said{'upgrade, module'}{text}, qr/\(deleted\)/, '... nginx goes on with the old module');
is($said{'service nginx upgrade'}{status}, 0, 'service nginx upgrade');
is($said{'upgraded, module'}{text}, "", '... nginx has the new one');
is($said{'upgraded, main'}{status}, 0, '... systemd knows the new process');
secret('upgraded', 'secret-6', '... it serves');

is($said{Remove}{status}, 0, 'Remove: all commands') or diag($said{Remove}{text});
is($said{removed}{text}, "active\n", '... nginx runs');
is($said{'removed, module'}{text}, '', '... without the module');
is($said{'removed, link'}{text}, '', '... and nothing of it is left');


sub secret {
    my ($step, $secret, $what) = @_;

    is($said{$step}{text}, qq({"access_token":"$secret"}), $what);
    return;
}


sub run {
    my ($what, $command) = @_;
    my $output = `exec 2>&1; $command`;

    $? == 0 or BAIL_OUT("$what: $output");
    return $output;
}


# A Debian with systemd and its nginx.
sub debian {
    my $functions = "ROOT='$ROOT'; say() { printf '%s\\n' \"\$*\"; }; "
        . ". '$ROOT/scripts/packages.sh'; . '$ROOT/scripts/image.sh'";

    run('packages', "bash -c \"BUILD='$dir' NGINX_SOURCE=; $functions; "
        . 'need_packages mmdebstrap iproute2"');
    run('apt', "apt-config dump | grep -E '^Acquire::(Check-Valid-Until|https?::Proxy)'"
        . " > '$dir/apt.conf' || true");
    run('mmdebstrap', "bash -c \"$functions; base_sources\" | mmdebstrap --mode=root"
        . " --variant=minbase --quiet --aptopt='$dir/apt.conf'"
        . ' --include=systemd,systemd-sysv,nginx,curl,ca-certificates,procps'
        . " bookworm '$root' -");
    return;
}


# The package, and the same with a later version.
sub package_files {
    run('deb', "BUILD_DIR='$dir' '$ROOT/build.sh' deb");

    my ($deb) = glob "$dir/deb/libnginx-mod-http-token_*.deb";
    my $later = "$root/root/debs/2";

    make_path("$root/root/debs/1", $later);
    copy($deb, "$root/root/debs/1/") or die "$deb: $!\n";

    run('dpkg-deb', "dpkg-deb -R '$deb' '$dir/later'");
    run('sed', "sed -i -E 's/^(Version: [^+]*).*/\\1+99999999.1/' '$dir/later/DEBIAN/control'");
    run('dpkg-deb', "dpkg-deb -b --root-owner-group '$dir/later'"
        . " '$later/libnginx-mod-http-token_2_all.deb'");
    return;
}


sub files {
    my $units = "$root/etc/systemd/system";

    $conf =~ s{https://id\.example\.com/oauth2/token;}{http://127.0.0.1:9000/token;} or die;
    spew("$root/root/token.conf", $conf);

    spew("$root/etc/endpoint.conf", <<"END");
pid  /run/endpoint.pid;
events { }
http {
    access_log  off;
    map \$http_authorization \$secret { default unknown; $known }
    server {
        listen  127.0.0.1:9000;
        location / {
            default_type  application/json;
            return  200 '{"access_token":"\$secret","expires_in":0}';
        }
    }
}
END

    spew("$units/endpoint.service", <<'END');
[Service]
ExecStart=/usr/sbin/nginx -c /etc/endpoint.conf -e stderr -g 'daemon off;'
END

    spew("$units/trial.service", <<'END');
[Unit]
After=multi-user.target
[Service]
Type=oneshot
ExecStart=/bin/bash /root/trial.sh
ExecStopPost=/bin/systemctl --force exit
END

    make_path("$units/multi-user.target.wants", "$root/root/src/packaging");
    symlink '../trial.service', "$units/multi-user.target.wants/trial.service";
    run('cp', "cp -r '$ROOT/packaging/systemd' '$root/root/src/packaging/'");
    unlink "$units/default.target";
    symlink '/lib/systemd/system/multi-user.target', "$units/default.target";

    # in the place of what makes the package: hands over the next
    spew("$root/root/src/build.sh", <<'END');
#!/bin/sh
mkdir -p build/deb
rm -f build/deb/*
n=$(ls /root/debs | head -n 1)
mv "/root/debs/$n/"* build/deb/ && rmdir "/root/debs/$n"
END
    chmod 0755, "$root/root/src/build.sh";

    spew("$root/root/trial.sh", trial());
    return;
}


# What is run in there. Each step tells its name, what it has printed, and its
# status.
sub trial {
    my ($install) = @{ $blocks{Install} };
    my ($secrets, $try) = @{ $blocks{Configure} };
    my ($credential) = @{ $blocks{LoadCredential} };
    my ($upgrade) = @{ $blocks{Upgrade} };
    my ($remove) = @{ $blocks{Remove} };

    die "blocks of docs/debian.md are missing\n"
        if grep { !defined } $install, $try, $credential, $upgrade, $remove;
    $upgrade =~ s/^(service nginx upgrade)\n//m or die "no binary upgrade\n";

    return <<"END" =~ s/^    //mgr;
    cd /root/src
    export DEBIAN_FRONTEND=noninteractive HOME=/root
    exec > /root/said 2>&1

    step() {
        printf '\\n== %s\\n' "\$1"
        bash -euc "\$2" < /dev/null
        printf '\\n-- %s\\n' \$?
    }
    ask() { step "\$1" 'curl -sS -m 10 http://localhost:8080/token'; }
    put() {
        printf %s "\$1" > /etc/nginx/secrets/secret.new
        chmod --reference=/etc/nginx/secrets/secret /etc/nginx/secrets/secret.new
        chown --reference=/etc/nginx/secrets/secret /etc/nginx/secrets/secret.new
        mv /etc/nginx/secrets/secret.new /etc/nginx/secrets/secret

        # a worker looks once a second
        sleep 2
    }
    module='grep -h ngx_http_token_module /proc/\$(pgrep -P \$(cat /run/nginx.pid) | head -n 1)/maps'
    drop_in=/etc/systemd/system/nginx.service.d/token.conf

    systemctl start endpoint nginx

    step Install '$install'
    step loaded 'ls -l /etc/nginx/modules-enabled'
    step secrets '$secrets'
    cp /root/token.conf /etc/nginx/conf.d/
    step Configure '$try'

    put secret-2;                                   ask 'file, put'
    systemctl reload nginx; sleep 2;                ask 'file, reload'
    step 'file, by hand' 'nginx -t'

    chgrp -R www-data /etc/nginx/secrets
    chmod 750 /etc/nginx/secrets
    chmod 640 /etc/nginx/secrets/*
    systemctl reload nginx; sleep 2
    put secret-3;                                   ask 'shared, put'
    chgrp -R root /etc/nginx/secrets
    chmod 700 /etc/nginx/secrets
    chmod 600 /etc/nginx/secrets/*

    step LoadCredential '@{[ $credential =~ s/'/'\\''/gr ]}'
    ask 'credential, start'
    put secret-4
    systemctl reload nginx; sleep 2;                ask 'credential, reload'
    systemctl daemon-reload
    systemctl reload nginx; sleep 2;                ask 'credential, daemon-reload'
    systemctl restart nginx;                        ask 'credential, restart'
    step 'credential, by hand' 'nginx -t'
    systemctl stop nginx
    step 'credential, stopped' 'nginx -t'

    sed -i '/token_proxy_client/d' /etc/nginx/conf.d/token.conf
    printf 'CONSUMER_KEY=my-key\\nCONSUMER_SECRET=secret-4\\n' > /etc/nginx/secrets/token.env
    printf '[Service]\\nEnvironmentFile=/etc/nginx/secrets/token.env\\n' > \$drop_in
    systemctl daemon-reload
    systemctl restart nginx;                        ask 'env file, start'
    sed -i s/secret-4/secret-5/ /etc/nginx/secrets/token.env
    systemctl reload nginx; sleep 2;                ask 'env file, reload'
    systemctl restart nginx;                        ask 'env file, restart'
    step 'env, by hand' 'nginx -t'
    step 'env, reload' 'systemctl reload nginx'

    printf '[Service]\\nEnvironment=CONSUMER_KEY=my-key CONSUMER_SECRET=secret-5\\n' > \$drop_in
    systemctl daemon-reload
    systemctl restart nginx
    sed -i s/secret-5/secret-6/ \$drop_in
    systemctl restart nginx;                        ask 'env, restart'
    systemctl daemon-reload
    systemctl restart nginx;                        ask 'env, daemon-reload'

    echo 'token_proxy_mistake on;' > /etc/nginx/conf.d/mistake.conf
    step 'a mistake' 'systemctl reload nginx'
    ask 'a mistake, then'
    rm /etc/nginx/conf.d/mistake.conf

    step upgrade '$upgrade'
    sleep 2
    step 'upgrade, version' 'dpkg-query -W libnginx-mod-http-token'
    step 'upgrade, module' "\$module"
    step 'service nginx upgrade' 'service nginx upgrade'
    sleep 2
    step 'upgraded, module' "\$module | grep deleted || true"
    step 'upgraded, main' '[ "\$(systemctl show nginx -p MainPID)" = "MainPID=\$(cat /run/nginx.pid)" ]'
    ask upgraded

    step Remove '$remove'
    step removed 'systemctl is-active nginx'
    step 'removed, module' "\$module || true"
    step 'removed, link' 'ls /etc/nginx/modules-enabled; ls /usr/lib/nginx/modules 2> /dev/null || true'
    echo '== end'
END
}


# What each step has said, and its status.
sub boot {
    my $group = "$cgroups/token-test-$$";
    my %steps;

    mkdir $group or BAIL_OUT("$group: $!");

    my $pid = fork // die "fork: $!\n";

    if ($pid == 0) {
        spew("$group/cgroup.procs", "$$\n");
        open STDIN, '<', '/dev/null';
        open STDOUT, '>', "$dir/boot.log";
        open STDERR, '>&', \*STDOUT;
        exec qw(timeout -k 10 300 unshare --mount --pid --fork --kill-child
            --uts --ipc --net --cgroup), "$ROOT/t/systemd/boot.sh", $root;
        die;
    }

    waitpid $pid, 0;
    system("find '$group' -depth -type d -exec rmdir {} + 2> /dev/null");

    my $said = slurp_or_empty("$root/root/said");

    $said =~ /^== end$/m or BAIL_OUT('it has not come to its end: '
        . slurp_or_empty("$dir/boot.log") . substr $said, -2000);

    while ($said =~ /^== ([^\n]+)\n(.*?)\n?-- (\d+)\n/msg) {
        $steps{$1} = { text => $2, status => $3 };
    }

    return %steps;
}
