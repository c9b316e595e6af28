# nginx with the module inside it (--add-module) builds, serves, and has the
# module's filter where it has the last word.

use strict;
use warnings;

use lib 't/lib';
use Cwd qw(realpath);
use File::Basename qw(dirname);
use File::Path qw(make_path remove_tree);
use HTTP::Tiny;
use Test::More;
use Token::Endpoint;
use Token::Util qw($MODULE $ROOT free_port slurp_or_empty spew wait_for work_dir);

my $dir = work_dir();
my $source = source();

plan(skip_all => "no sources of nginx: TEST_NGINX_SOURCE can name them")
    if !$source;
plan(tests => 11);

# build.sh --nginx-source has built the module with sources; Debian's nginx-dev
# has headers only, and Debian's source package the rest, which is kept.
sub source {
    my $build = dirname($MODULE);
    my $kept = "$build/source";

    for ($ENV{TEST_NGINX_SOURCE} // '', "$build/tree", glob "$kept/nginx-*/") {
        return dirname(realpath("$_/src")) if -f "$_/src/core/nginx.c";
    }

    my $mirror = `bash -c '. "$ROOT/scripts/packages.sh"; debian_mirror'`;
    my ($codename) = slurp_or_empty('/etc/os-release') =~ /^VERSION_CODENAME=(\w+)/m;

    chomp $mirror;
    return if !$mirror || !$codename;

    make_path("$kept/lists/partial", "$kept/cache/archives/partial");
    spew("$kept/sources.list", 'deb-src [signed-by='
        . '/usr/share/keyrings/debian-archive-keyring.gpg] '
        . "$mirror $codename main\n");

    my $apt = "apt-get -q -o Dir::Etc::sourcelist=$kept/sources.list"
        . " -o Dir::Etc::sourceparts=/dev/null -o Dir::State::Lists=$kept/lists"
        . " -o Dir::Cache=$kept/cache -o APT::Sandbox::User=";

    system("cd '$kept' && { $apt update && $apt --download-only source nginx"
        . ' && tar xf nginx_*.orig.tar.gz; } > apt.log 2>&1') == 0 or return;
    remove_tree("$kept/lists", "$kept/cache");

    return (glob "$kept/nginx-*")[0];
}

mkdir "$dir/$_" for qw(nginx logs);

for my $entry (glob "$source/*") {
    symlink $entry, "$dir/nginx/" . $entry =~ s{.*/}{}r
        unless $entry =~ m{/(?:Makefile|objs)$};
}

symlink "$source/auto/configure", "$dir/nginx/configure"
    unless -e "$dir/nginx/configure";

# As little of nginx as will do; -O0 for the time that it takes.
my $configure = join ' ', './configure', "--add-module=$ROOT", "--prefix=$dir",
    "--with-cc-opt='-O0 -g0 -Wall -Wextra -Wno-unused-parameter'",
    qw(--with-http_ssl_module --with-http_sub_module --with-debug
    --without-http_rewrite_module --without-http_fastcgi_module
    --without-http_uwsgi_module --without-http_scgi_module
    --without-http_grpc_module --without-http_memcached_module
    --without-http_autoindex_module --without-http_geo_module
    --without-http_auth_basic_module --without-http_mirror_module
    --without-http_userid_module --without-http_limit_conn_module
    --without-http_limit_req_module --without-http_browser_module
    --without-http_split_clients_module --without-http_empty_gif_module);

my $output = `cd '$dir/nginx' && $configure 2>&1`;

is($?, 0, 'configure') or BAIL_OUT($output);

$output = `make -s -C '$dir/nginx' -f objs/Makefile -j 2 binary 2>&1`;
is($?, 0, 'make') or BAIL_OUT($output);
unlike($output, qr/ngx_http_token\w+\.c:\d+:\d+: warning/, 'no warning');

my $nginx = "$dir/nginx/objs/nginx";

like(`$nginx -V 2>&1`, qr/--add-module=/, 'an nginx with the module');

my $endpoint = Token::Endpoint->new;
my $port = free_port();

spew("$dir/nginx.conf", <<"END");
@{[$> == 0 ? 'user root;' : '']}
pid        $dir/logs/nginx.pid;
error_log  $dir/logs/error.log debug;

events { }

http {
    access_log  off;
    token_proxy_client_id      my-key;
    token_proxy_client_secret  my-secret;
    token_proxy_cache_zone     zone=tokens:1m;

    server {
        listen            127.0.0.1:$port;
        expires           1h;
        add_header        Cache-Control public;
        sub_filter        access replaced;
        sub_filter_types  *;

        location = /token {
            token_proxy           on;
            token_proxy_endpoint  @{[$endpoint->url]};
        }

        location = /cached {
            token_proxy           on;
            token_proxy_endpoint  @{[$endpoint->url]};
            token_proxy_cache     tokens;
        }
    }
}
END

$output = `$nginx -p $dir -c $dir/nginx.conf 2>&1`;
is($?, 0, 'starts') or BAIL_OUT($output);

my $pid = wait_for { slurp_or_empty("$dir/logs/nginx.pid") =~ /(\d+)/ ? $1 : undef };
my $answer = HTTP::Tiny->new->get("http://127.0.0.1:$port/token");

is($answer->{status}, 200, 'serves');
is($answer->{content}, '{"access_token":"AT-1","refresh_token":"RT-1"}', 'a token');
is($answer->{headers}{'cache-control'}, 'no-store', 'that nobody keeps');

for (1 .. 2) {
    $answer = HTTP::Tiny->new->get("http://127.0.0.1:$port/cached");
    is($answer->{content}, '{"access_token":"AT-2","refresh_token":"RT-2"}', 'from its cache');
}

my ($request) = $endpoint->requests;
like($request, qr/^Authorization: Basic bXkta2V5Om15LXNlY3JldA==\r$/m, 'for which it has authenticated');

END {
    if ($pid) {
        kill TERM => $pid;
        wait_for { !kill(0, $pid) || waitpid($pid, 1) > 0 };
    }
}
