package Token::Real;

# What the tests with authorization servers of others share.
#
#     location('name', $endpoint, 'client_id x', 'proxy_ssl_name y')
#                      # of a configuration; "token_proxy_" is left out
#     token($nginx, 'name');          # two checks; the answer, a hash
#     refused($nginx, 'name', 502, qr/answered 401/);      # four checks
#     refresh($nginx, 'name', $refresh_token);             # status, answer
#     grant_refused($nginx, 'name', $refresh_token, 'what it is');  # two checks
#     endures($nginx, 'name', $server, 'cached');          # six checks

use strict;
use warnings;

use Exporter qw(import);
use HTTP::Tiny;
use JSON::PP qw(decode_json encode_json);
use POSIX ();
use Test::More;
use Time::HiRes qw(sleep time);
use Token::Util qw(wait_for);

our @EXPORT = qw(location token refused refresh grant_refused endures);


sub location {
    my ($name, $endpoint, @directives) = @_;

    return "location = /$name { token_proxy on; "
        . "token_proxy_endpoint $endpoint; "
        . join('', map { (/^(?:proxy|add)_/ ? '' : 'token_proxy_') . "$_; " }
            @directives) . "}\n";
}


sub token {
    my ($nginx, $name) = @_;
    my $before = length $nginx->error_log;
    my $response = $nginx->get("/$name");
    my $answer = answer($response);

    is($response->{status}, 200, "$name: status")
        or diag($response->{content}, errors($nginx, $before));
    like($answer->{access_token}, qr/^[\w.-]{20,}$/, "$name: a token");

    return $answer;
}


# What the caller gets, and what the log says that is new.
sub refused {
    my ($nginx, $name, $status, $reason) = @_;
    my $before = length $nginx->error_log;
    my $response = $nginx->get("/$name");

    is($response->{status}, $status, "$name: status");
    like($response->{content}, qr/^\{"error":"[a-z_]+","error_description":"/,
        "$name: an error in JSON");
    unlike($response->{content}, qr/access_token|invalid_client/,
        "$name: the endpoint's answer stays here");
    like(errors($nginx, $before), $reason, "$name: the log tells why");
    return;
}


# A caller with a refresh token.
sub refresh {
    my ($nginx, $name, $token) = @_;
    my $response = HTTP::Tiny->new(timeout => 20)->post_form(
        $nginx->url("/$name"),
        [grant_type => 'refresh_token', refresh_token => $token]);

    return ($response->{status}, answer($response));
}


# A refresh token that is the caller's mistake.
sub grant_refused {
    my ($nginx, $name, $token, $what) = @_;
    my ($status, $answer) = refresh($nginx, $name, $token);

    is($status, 400, "$what: status");
    is($answer->{error}, 'invalid_grant', "$what: the error");
    return;
}


# A location is asked again and again while its endpoint's server stops, is
# away and starts. As long as the server is there each caller has a token; while
# it is away each has one too ($what is "cached"), or an error.
sub endures {
    my ($nginx, $name, $server, $what) = @_;
    my $from = length $nginx->error_log;
    my ($end, $count) = ask_on($nginx, $name);
    my $more = sub {
        my $now = $count->();
        wait_for { $count->() > $now + 20 } 20;
    };
    my ($leaves, $away, $comes, $back);

    $more->();
    $leaves = time;
    $server->stop;
    $away = time;
    $more->();
    $comes = time;
    $server->start;
    $back = time;
    $more->();

    my @answers = $end->();
    my %when = (
        before => [grep { $_->{received} < $leaves } @answers],
        away => [grep { $_->{sent} > $away && $_->{received} < $comes }
            @answers],
        after => [grep { $_->{sent} > $back } @answers],
    );

    cmp_ok(scalar(@{ $when{$_} }), '>', 9, "$name: callers $_")
        for qw(before away after);

    is(statuses(@{ $when{before} }, @{ $when{after} }), '200',
        "$name: a token while the server is there");
    is(statuses(@{ $when{away} }), $what eq 'cached' ? '200' : '502',
        '... and while it is not: ' . ($what eq 'cached' ? 'one' : 'an error'));
    unlike(errors($nginx, $from), qr/\[(?:alert|emerg)\]/,
        '... and nothing worse in the log');

    return;
}


sub statuses {
    my %statuses = map { $_->{status} => 1 } @_;

    return join ' ', sort keys %statuses;
}


# A process that asks one request after another: what ends it and brings what
# it got, and what tells how many that are so far.
sub ask_on {
    my ($nginx, $name) = @_;
    my $bytes = '';

    pipe my $in, my $out or die "pipe: $!\n";
    my $pid = fork // die "fork: $!\n";

    while ($pid == 0) {
        my $got = $nginx->get("/$name");

        syswrite $out, encode_json(
            { map { $_ => $got->{$_} } qw(status sent received) }) . "\n"
            or POSIX::_exit(0);
        sleep 0.01;
    }

    close $out;
    $in->blocking(0);

    my $count = sub {
        1 while sysread $in, $bytes, 65536, length $bytes;
        return $bytes =~ tr/\n//;
    };
    my $end = sub {
        kill KILL => $pid;
        waitpid $pid, 0;
        $count->();
        return map { decode_json($_) } $bytes =~ /^(.*)\n/mg;
    };

    return ($end, $count);
}


sub answer {
    my ($response) = @_;
    my $answer = eval { decode_json($response->{content}) };

    return ref $answer eq 'HASH' ? $answer : {};
}


sub errors {
    my ($nginx, $from) = @_;

    return join "\n", grep { /\[(?:warn|error|crit|alert|emerg)\]/ }
        split /\n/, substr $nginx->error_log, $from;
}

1;
