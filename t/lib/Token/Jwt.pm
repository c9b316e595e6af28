package Token::Jwt;

# JWTs that the module has signed, as somebody else reads them: openssl says
# whether a signature is right.
#
#     my $jwt = decode_jwt($text);      # {header, claims, signed, signature}
#     verified($jwt, 'RS256', $public_key_file)     # or with a directory, too,
#                                                  # for what openssl is given
#
#     public_jwk($key_file, kid => 'a', alg => 'ES256')  # as a server wants it
#
#     my $server = Token::Jwt->new(     # a token endpoint for RFC 7523 2.1
#         key   => $public_key_file,
#         alg   => 'RS256',
#         check => sub { my ($jwt, $request) = @_; ... },  # undef, or an error
#     );
#     $server->url;                     # http://127.0.0.1:PORT/token
#
# The server gives a token for an assertion that is signed with this key, not
# expired, not of its future, and that the check finds no error in; else it
# refuses with the error. The request has "method", "query", "headers" and
# "form".

use strict;
use warnings;

use Exporter qw(import);
use IO::Socket::INET;
use JSON::PP ();
use MIME::Base64 qw(decode_base64url);
use POSIX ();
use Token::Util qw(end_child output_of spew work_dir);

our @EXPORT_OK = qw(decode_jwt public_jwk verified);

my $json = JSON::PP->new->canonical->utf8;


# The public half of a private key, by node.
sub public_jwk {
    my ($key, %members) = @_;
    my $jwk = $json->decode(output_of("node -e '"
        . 'console.log(JSON.stringify(crypto.createPublicKey('
        . 'fs.readFileSync(process.argv[1])).export({ format: "jwk" })))'
        . "' $key"));

    return { %$jwk, use => 'sig', %members };
}


sub decode_jwt {
    my ($text) = @_;
    my ($header, $claims, $signature) = split /\./, $text // '..', 3;

    return {
        header => scalar eval { $json->decode(decode_base64url($header)) },
        claims => scalar eval { $json->decode(decode_base64url($claims)) },
        signed => "$header.$claims", signature => $signature,
    };
}


sub verified {
    my ($jwt, $alg, $key, $dir) = @_;
    my $signature = decode_base64url($jwt->{signature});

    return 0 if ($jwt->{header}{alg} // '') ne $alg;

    $dir //= work_dir();
    $signature = der($signature) if $alg =~ /^ES/;
    spew("$dir/signed", $jwt->{signed});
    spew("$dir/signature", $signature);

    my $bits = $alg =~ /384/ ? 384 : 256;
    my $pss = $alg =~ /^PS/ ? '-sigopt rsa_padding_mode:pss'
        . ' -sigopt rsa_pss_saltlen:32' : '';
    my $command = $alg eq 'EdDSA'
        ? "pkeyutl -verify -pubin -inkey $key -rawin -in $dir/signed"
            . " -sigfile $dir/signature"
        : "dgst -sha$bits -verify $key $pss -signature $dir/signature"
            . " $dir/signed";

    `openssl $command 2>&1`;
    return $? == 0;
}


# r and s, as openssl wants them
sub der {
    my ($raw) = @_;
    my $half = length($raw) / 2;
    my $numbers = join '', map {
        my $n = s/^\0+//r;
        $n = "\0$n" if ord($n) > 127;
        "\x02" . chr(length $n) . $n;
    } substr($raw, 0, $half), substr($raw, $half);

    return "\x30" . chr(length $numbers) . $numbers;
}


sub new {
    my ($class, %self) = @_;
    my $listen = IO::Socket::INET->new(LocalAddr => '127.0.0.1',
        Proto => 'tcp', Listen => 10) or die "jwt: $!\n";
    my $pid = fork // die "jwt: $!\n";

    if ($pid == 0) {
        $SIG{PIPE} = 'IGNORE';

        while (my $client = $listen->accept) {
            eval { serve($client, \%self); 1 } or print STDERR "jwt: $@";
        }

        POSIX::_exit(0);
    }

    return bless { pid => $pid, owner => $$, port => $listen->sockport }, $class;
}


sub url { "http://127.0.0.1:$_[0]{port}/token" }


sub DESTROY { end_child($_[0]) }


sub serve {
    my ($client, $self) = @_;
    my $input = '';

    1 while $input !~ /\r\n\r\n/ && sysread $client, $input, 65536, length $input;

    my ($head, $body) = split /\r\n\r\n/, $input, 2;
    my ($line, @lines) = split /\r\n/, $head;
    my ($method, $uri) = split ' ', $line;
    my %headers = map { /^([^:]+): *(.*)/ ? (lc $1 => $2) : () } @lines;

    1 while length $body < ($headers{'content-length'} // 0)
        && sysread $client, $body, 65536, length $body;

    my $query = $uri =~ /\?(.*)/ ? $1 : '';
    my %form = ($headers{'content-type'} // '') eq 'application/json'
        ? %{ $json->decode($body) }
        : map { tr/+/ /r =~ s/%(..)/chr hex $1/ger }
            map { split /=/, $_, 2 } split /&/, $method eq 'GET' ? $query : $body;

    my $error = refusal($self, { method => $method, query => $query,
        headers => \%headers, form => \%form });
    my $answer = $json->encode($error
        ? { error => 'invalid_grant', error_description => $error }
        : { access_token => 'AT-1', expires_in => 3600,
            instance_url => 'https://example.my.salesforce.com' });

    print $client 'HTTP/1.1 ', $error ? '400 Bad' : '200 OK', "\r\n",
        "Content-Type: application/json\r\nConnection: close\r\n",
        'Content-Length: ', length $answer, "\r\n\r\n", $answer;
    close $client;
}


# Why there is no token for this request.
sub refusal {
    my ($self, $request) = @_;
    my $form = $request->{form};
    my $jwt = decode_jwt($form->{assertion} // return 'no assertion');
    my $now = time + ($self->{clock} // 0);

    return 'another grant' if ($form->{grant_type} // '')
        ne 'urn:ietf:params:oauth:grant-type:jwt-bearer';
    return 'no JWT' if !$jwt->{header} || !$jwt->{claims};
    return 'wrong signature' if !verified($jwt, $self->{alg}, $self->{key});
    return 'expired' if $jwt->{claims}{exp} <= $now;
    return 'of the future' if $jwt->{claims}{iat} > $now;
    return $self->{check} ? $self->{check}->($jwt, $request) : undef;
}

1;
