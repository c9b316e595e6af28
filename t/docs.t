# What the documents show works, and what exists is documented.

use strict;
use warnings;

use lib 't/lib';
use Cwd qw(realpath);
use File::Basename qw(dirname);
use Test::More;
use Token::Endpoint;
use Token::Util qw($MODULE $NGINX $ROOT free_port slurp slurp_or_empty source
    spew wait_for work_dir);

use HTTP::Tiny;

my $dir = work_dir();
my $readme = slurp("$ROOT/README.md");
my $directives = slurp("$ROOT/docs/directives.md");
my @documents = ('README.md', 'CHANGELOG.md', 'CONTRIBUTING.md', 'SECURITY.md',
    'bench/README.md', 't/README.md',
    map { s{^\Q$ROOT\E/}{}r } glob "$ROOT/docs/*.md");

# Directives and variables as nginx knows them, and their sections in the page.
my %flags = source('ngx_http_token_module.c')
    =~ /\{ ngx_string\("(token_proxy\w*)"\),\s*([A-Z0-9_|\s]+),/g;
my @variables = grep { !/internal/ } source('ngx_http_token_variables.c')
    =~ /ngx_string\("(token_proxy_\w+)"\)/g;
my %section = $directives =~ /^### (token_proxy\w*)$(.*?)(?=^##|\z)/msg;

die "few directives, variables or documents are found\n"
    if keys %flags < 35 || @variables < 5 || @documents < 11;

plan(tests => 8 + 3 + 2 * keys(%flags) + 2 * @documents + 1);

mkdir "$dir/$_" for qw(logs modules);
symlink $MODULE, "$dir/modules/ngx_http_token_module.so";


# README's nginx.conf, as it is but for the port, the endpoint, and what makes
# it run beside others.
{
    my ($conf) = $readme =~ /```nginx\n(load_module.*?)```/s;
    my $endpoint = Token::Endpoint->new;
    my $port = free_port();
    my $url = $endpoint->url;
    my $temp = join ' ', map { "${_}_temp_path $dir/$_;" }
        qw(client_body proxy fastcgi uwsgi scgi);

    ok($conf, 'README.md has a configuration');
    $conf =~ s{listen  8080;}{listen 127.0.0.1:$port;} or fail('its port');
    $conf =~ s{https://session\S+;}{$url;} or fail('its endpoint');
    $conf =~ s/http \{/http { access_log off; $temp/;
    $conf = "pid $dir/logs/nginx.pid;\n$conf";
    $conf = "user root;\n$conf" if $> == 0;
    spew("$dir/nginx.conf", $conf);

    local @ENV{qw(CONSUMER_KEY CONSUMER_SECRET)} = ('my-key', 'my-secret');
    my $command = "$NGINX -e $dir/logs/error.log -p $dir -c $dir/nginx.conf";
    my $output = `$command -t 2>&1`;

    is($?, 0, 'nginx -t of it') or diag($output);
    unlike($output, qr/\[warn\]/, 'without a warning');

    $output = `$command 2>&1`;
    is($?, 0, 'it starts') or diag($output);

    my $pid = wait_for { slurp_or_empty("$dir/logs/nginx.pid") =~ /(\d+)/ ? $1 : undef };
    my $http = HTTP::Tiny->new(timeout => 10);

    for my $n (1, 2) {
        my $answer = $http->get("http://127.0.0.1:$port/token");

        is($answer->{content}, '{"access_token":"AT-1","refresh_token":"RT-1"}',
            "answer $n is a token");
    }

    is($endpoint->calls, 1, 'of one call of the endpoint');

    my $answer = $http->get("http://127.0.0.1:$port/token",
        { headers => { Origin => 'https://app.example.com' } });
    is($answer->{headers}{'access-control-allow-origin'},
        'https://app.example.com', 'for the page that it names');

    if ($pid) {
        kill TERM => $pid;
        wait_for { !kill(0, $pid) || waitpid($pid, 1) > 0 };
    }
}


# Directives and variables: what nginx knows, and what the page says.
is_deeply([grep { !$section{$_} } sort keys %flags], [],
    'every directive is documented');
is_deeply([grep { !$flags{$_} } sort keys %section], [],
    'every directive that is documented exists');
is_deeply([grep { $directives !~ /`\$$_`/ } @variables], [],
    'every variable is documented');

for my $name (sort keys %flags) {
    my %contexts = (http => 'MAIN', server => 'SRV', location => 'LOC');
    my ($said) = ($section{$name} // '') =~ /^\| Context: \| (.*?) \|$/m;

    is(join(' ', sort(($said // '') =~ /\b(http|server|location)\b/g)),
        join(' ', sort grep { $flags{$name} =~ /NGX_HTTP_$contexts{$_}_CONF/ }
            keys %contexts), "$name: its contexts");
    like($section{$name} // '', qr/^\| \| \|\n\|---\|---\|\n\| Syntax: \| `$name\b[^`]*;` \|\n\| Default: \| (?!$name).+ \|\n\| Context: \| `[^|]*` \|\n(?!\|)/m,
        "$name: its table, in the form of all others");
}


# Links lead somewhere.
my $links = 0;

sub anchors {
    my ($text) = @_;

    $text =~ s/^```.*?^```//gms;

    return map { s/[^\w\- ]//gr =~ tr/ /-/r } map { lc } $text =~ /^#+ (.+)$/mg;
}

for my $document (@documents) {
    my $text = slurp("$ROOT/$document");
    my @links = $text =~ /\]\(((?!https?:)[^)\s]+)\)/g;
    my @dead;

    $links += @links;

    for my $link (@links) {
        my ($file, $anchor) = split /#/, $link, 2;
        my $path = length $file ? dirname("$ROOT/$document") . "/$file"
            : "$ROOT/$document";

        push @dead, $link
            if !-e $path
                || defined $anchor && !grep { $_ eq $anchor } anchors(slurp($path));
    }

    is("@dead", '', "$document: its links");
    unlike($text, qr/[ \t]$/m, "$document: no white space at the end of a line");
}

cmp_ok($links, '>', 50, 'there are links');
