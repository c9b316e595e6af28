# Grants besides client_credentials, and that what one subject gets no other
# one is ever given: with and without a cache, one after the other and at once.

use strict;
use warnings;
use lib 't/lib';

use Test::More tests => 39;
use Token::Server;
use Token::Util qw(free_port settled wait_for);

my $EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange';
my $TYPE = 'urn:ietf:params:oauth:token-type:access_token';

my ($port, $answers) = (free_port(), free_port());

my $nginx = Token::Server->new(
    workers => 2,
    http => <<"END",
    token_proxy_cache_zone     zone=tokens:1m;
    token_proxy_client_id      my-key;
    token_proxy_client_secret  my-secret;

    map \$http_authorization \$bearer {
        "~*^Bearer +(.+)\$"  \$1;
    }

    map \$http_x_body \$subject {
        "~(?:^|&)subject_token=(?<value>[^&]*)"  \$value;
        default                                 nobody;
    }

    # The endpoint of these tests: the token names its subject. It has a log
    # of its own, since nginx writes headers to a debug log.
    server {
        listen      127.0.0.1:$port;
        error_log   \@DIR\@/logs/endpoint.log info;
        access_log  \@DIR\@/logs/calls.log;

        location / {
            proxy_set_header  X-Body  \$request_body;
            proxy_pass        http://127.0.0.1:$answers;
        }

        location /slow {
            auth_basic            endpoint;
            auth_basic_user_file  /dev/null;
            auth_delay            500ms;
            error_page            401 =200 \@later;
        }

        location \@later {
            proxy_set_header  X-Body  \$request_body;
            proxy_pass        http://127.0.0.1:$answers;
        }
    }

    server {
        listen        127.0.0.1:$answers;
        error_log     \@DIR\@/logs/endpoint.log info;
        access_log    off;
        default_type  application/json;

        location /body {
            return  200 '{"access_token":"\$http_x_body","expires_in":3600}';
        }

        location / {
            return  200 '{"access_token":"<\$subject>","expires_in":3600}';
        }
    }
END
    server => join '', map { location(@$_) } (
        [exchange => '/token'],
        [exchange_cached => '/token', 'cache tokens'],
        [exchange_slow => '/slow'],
        [exchange_slow_cached => '/slow', 'cache tokens'],
        [exchange_body => '/body'],
        [exchange_401 => '/token'],
        [password => '/body', 'grant_type password', 'param username me',
            'param password "a b&c=d"'],
        [empty => '/body', 'grant_type any', 'param a $arg_a',
            'param scope read', 'param b "$arg_b"', 'param c "x$arg_c"'],
        [empty_cached => '/body', 'grant_type any', 'param a $arg_a',
            'param b $arg_b', 'cache tokens'],
    ))->start;


# what is sent
{
    my $type = $TYPE =~ s/:/%3A/gr;

    is(token('exchange_body', 'alice'), 'grant_type='
        . $EXCHANGE =~ s/:/%3A/gr . "&subject_token=alice&subject_token_type=$type",
        'token exchange: what is sent');
    is(token('exchange_body', 'a+b/c=~'), 'grant_type='
        . $EXCHANGE =~ s/:/%3A/gr
        . "&subject_token=a%2Bb%2Fc%3D%7E&subject_token_type=$type",
        'token exchange: a token of any kind');
    is(token('password'),
        'grant_type=password&username=me&password=a+b%26c%3Dd', 'password');
}


# one after the other
for my $location ('exchange', 'exchange_cached') {
    my %got;

    for my $subject (qw(alice bob carol alice bob carol bob alice)) {
        $got{$subject}{ token($location, $subject) }++;
    }

    is_deeply(\%got, { map { $_ => { "<$_>" => $_ eq 'carol' ? 2 : 3 } }
        qw(alice bob carol) }, "$location: each gets a token of its own");
}

# Subjects of which one is the beginning of another, or that look like more
# than one parameter.
for my $location ('exchange', 'exchange_cached') {
    for my $subject ('a', 'aa', 'a&subject_token=b', 'a&scope=b', 'b', 'A',
        'a ', 'a.', 'a%26')
    {
        my $encoded = $subject =~ s/([^\w. -])/sprintf '%%%02X', ord $1/ger;

        $encoded =~ s/ +$//;
        is(token($location, $subject), "<$encoded>", "$location: $subject");
    }
}


# the cache has an entry for each
{
    my $before = settled { calls() };

    token('exchange_cached', $_) for qw(dave dave erin dave erin);
    is((settled { calls() }) - $before, 2,
        'cached: a call for each subject, and no more');
}


# at once, in both workers
for my $location ('exchange_slow', 'exchange_slow_cached') {
    my @subjects = map { "at-once-$_" } (1 .. 20) x 3;
    my $before = settled { calls() };
    my @sockets = map { ask($location, $_) } @subjects;
    my @wrong = grep { answer($sockets[$_]) ne "<$subjects[$_]>" }
        0 .. $#subjects;

    is("@wrong", '', "$location: 60 at once, each gets a token of its own");

    next unless $location =~ /cached/;

    # the endpoint logs a call when it has answered
    wait_for { calls() - $before >= 20 };
    is(calls() - $before, 20, "$location: a call for each subject");
}


# a parameter without a value is left out (RFC 6749 3.2)
{
    is(token('empty'), 'grant_type=any&scope=read&c=x', 'empty: left out');
    is(token('empty?a=1&b=2&c=3'),
        'grant_type=any&a=1&scope=read&b=2&c=x3', 'empty: not empty');
    is(token('empty_cached?a=1'), 'grant_type=any&a=1', 'empty: a');
    is(token('empty_cached?b=1'), 'grant_type=any&b=1',
        'empty: b with the same value is another entry');
    is(token('exchange'), '<nobody>', 'no subject: no parameter');
}


# a caller without a subject, where the configuration wants one
{
    my $before = settled { calls() };
    my $response = $nginx->get('/exchange_401');

    is($response->{status}, 401, 'no subject: 401 by configuration');
    is((settled { calls() }), $before, '... without a call');
    is($nginx->get('/exchange_401', Authorization => 'Basic YTpi')->{status},
        401, 'another scheme: 401');
    is(token('exchange_401', 'alice'), '<alice>', 'a subject: 200');
}


# Of a caller's token nginx itself writes the header to a debug log; the module
# writes none of what it makes of it.
{
    my $log = join "\n", grep { !/http header: "Authorization:/ }
        split /\n/, $nginx->error_log;

    like($log, qr/\[debug\]/, 'the error log is of level debug');
    unlike($log, qr/subject_token=|a b&c=d|a\+b%26c%3Dd/,
        'no parameter is in the log');
    unlike($log, qr/at-once-\d/, 'no subject is in the log');
}

$nginx->stop;


sub location {
    my ($name, $path, @directives) = @_;

    @directives = ("grant_type $EXCHANGE", 'param subject_token $bearer',
        "param subject_token_type $TYPE", @directives) if $name =~ /^exchange/;

    return "location = /$name { token_proxy on; "
        . "token_proxy_endpoint http://127.0.0.1:$port$path; "
        . ($name =~ /401/ ? 'if ($bearer = "") { return 401; } ' : '')
        . join('', map { "token_proxy_$_; " } @directives) . "}\n";
}


sub ask {
    my ($location, $subject) = @_;
    my $socket = $nginx->connect;

    print $socket "GET /$location HTTP/1.0\r\n",
        defined $subject ? "Authorization: Bearer $subject\r\n" : '', "\r\n";
    $socket->flush;
    return $socket;
}


# The token that it gets, or all of another answer.
sub answer {
    my ($socket) = @_;
    my $answer = '';

    local $SIG{ALRM} = sub { die "no answer\n" };
    alarm 10;
    1 while sysread $socket, $answer, 65536, length $answer;
    alarm 0;

    return $answer =~ /\{"access_token":"([^"]*)"\}$/ ? $1 : $answer;
}


sub token { return answer(ask(@_)) }


sub calls {
    open my $in, '<', $nginx->dir . '/logs/calls.log' or return 0;
    my @lines = <$in>;
    return scalar @lines;
}
