# The module loaded and not used: nginx behaves as without it.

use strict;
use warnings;
use lib 't/lib';

use Test::More tests => 24;
use Token::Server;
use Token::Util qw($MODULE free_port slurp spew);

my $http = <<'END';
    add_header  X-Added  yes always;
END
my $server = <<"END";
    location /        { }
    location = /plain { default_type text/plain; return 200 "plain\\n"; }
    location = /moved { return 301 /plain; }
    location = /closed { deny all; }
    location = /login { auth_basic realm; auth_basic_user_file /dev/null; }
    location = /token { return 200 "no token\\n"; }
    location = /gzip  { gzip on; gzip_min_length 1; gzip_types *; default_type text/plain; return 200 "aaaaaaaaaaaaaaaaaaaa"; }
    location = /expires { expires 1h; return 200 "expires\\n"; }
    location = /proxy { proxy_pass http://127.0.0.1:PORT/plain; }
    location = /error { error_page 404 =200 /plain; return 404; }
    location = /parent { auth_request /plain; root \@DIR\@/html; try_files /index.html =404; }
END

my @REQUESTS = (
    map({ [GET => $_] } qw(/ /plain /moved /closed /login /token /gzip /expires
        /proxy /error /parent /missing)),
    [HEAD => '/plain'], [OPTIONS => '/plain'], [POST => '/plain', { 'Content-Type' => 'x' }, 'body'],
    [GET => '/plain', { Origin => 'https://page.example' }],
    [OPTIONS => '/plain', { Origin => 'https://page.example',
        'Access-Control-Request-Method' => 'GET' }],
    [GET => '/gzip', { 'Accept-Encoding' => 'gzip' }],
    [GET => '/', { Range => 'bytes=0-3' }],
    [GET => '/', { 'If-Modified-Since' => 'Fri, 31 Dec 2100 00:00:00 GMT' }],
);

my $USED = 'token_proxy on; token_proxy_endpoint http://127.0.0.1:1/; '
    . 'token_proxy_client_id my-key; token_proxy_client_secret my-secret;';

my $with = answers(1);
my $without = answers(0);

for my $i (0 .. $#REQUESTS) {
    my ($method, $path, $headers) = @{ $REQUESTS[$i] };
    my $name = join ' ', $method, $path, map { "$_: $headers->{$_}" } sort keys %{ $headers // {} };

    is_deeply($with->{answers}[$i], $without->{answers}[$i], $name);
}

is_deeply($with->{log}, [], 'nothing in the error log');
is($with->{fds}, $without->{fds}, 'no pipe and no event of its own');
is($with->{debug}, 0, 'no debug line of the module: it has no part in any request');
cmp_ok(answers(1, "location = /used { $USED }")->{debug}, '>', 1,
    'where it is used, there are some');


sub answers {
    my ($loaded, $more) = @_;
    my $nginx = Token::Server->new;
    my $lines = $server =~ s/PORT/$nginx->port/er;

    $nginx->configure(http => $http, server => $lines . ($more // ''));
    spew($nginx->dir . '/html/index.html', "index\n");
    utime 1e9, 1e9, $nginx->dir . '/html/index.html';

    if (!$loaded) {
        my $file = $nginx->dir . '/conf/nginx.conf';

        spew($file, slurp($file) =~ s/^load_module \Q$MODULE\E;\n//mr);
    }

    $nginx->start;

    my ($pid) = $nginx->workers;
    my @answers;

    for my $request (@REQUESTS) {
        my $response = $nginx->request(@$request);

        delete @$response{qw(url protocol redirects sent received)};
        delete @{ $response->{headers} }{qw(date expires)};
        s/:\d+// for grep { defined } $response->{headers}{location};
        push @answers, $response;
    }

    $nginx->get('/used') if $more;

    my @fds = grep { (readlink($_) // '') =~ /^(?:pipe|anon_inode):/ } glob "/proc/$pid/fd/*";
    my $log = $nginx->error_log;

    $nginx->stop;

    return {
        answers => \@answers,
        fds     => scalar @fds,
        debug   => scalar(() = $log =~ /http token /g),
        log     => [grep { /\[(?:warn|error|crit|alert|emerg)\]/
            && !/access forbidden|no user|is not found|open\(\) "/ } split /\n/, $log],
    };
}
