
/*
 * Form encoding, a form as JSON, and the Authorization header made of a client
 * id and secret.  Input: a byte, id, NUL, secret.
 */


#include "fuzz.h"

#include <cjson/cJSON.h>


static ngx_str_t
fuzz_encoded(fuzz_t *fz, ngx_str_t *text)
{
    size_t     i;
    u_char     ch, *end;
    ngx_str_t  encoded, decoded;

    encoded.len = ngx_http_token_form_encode(NULL, text);
    encoded.data = ngx_pnalloc(fz->pool, ngx_max(encoded.len, 1));
    fuzz_check(encoded.data);

    end = (u_char *) ngx_http_token_form_encode(encoded.data, text);

    fuzz_check(end == encoded.data + encoded.len);

    for (i = 0; i < encoded.len; i++) {
        ch = encoded.data[i];

        if (ch == '%') {
            fuzz_check(i + 2 < encoded.len);
            fuzz_check(ngx_hextoi(&encoded.data[i + 1], 2) != NGX_ERROR);
            i += 2;
            continue;
        }

        fuzz_check((ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z')
                   || (ch >= '0' && ch <= '9') || ch == '+' || ch == '*'
                   || ch == '-' || ch == '.' || ch == '_');
    }

    /* and back */

    decoded.data = ngx_pnalloc(fz->pool, ngx_max(encoded.len, 1));
    fuzz_check(decoded.data);

    end = ngx_http_token_form_decode(decoded.data, &encoded);
    decoded.len = end - decoded.data;

    fuzz_check(fuzz_equal(&decoded, text));

    return encoded;
}


/* a form of one parameter, or of two, as another reader of JSON reads it */

static void
fuzz_json(fuzz_t *fz, ngx_str_t *id, ngx_str_t *encoded, ngx_uint_t n)
{
    u_char      *p;
    cJSON       *object, *member;
    ngx_str_t    form, json, name;

    static u_char  key[] = "k";

    form.data = ngx_pnalloc(fz->pool, 3 * (encoded->len + 4));
    fuzz_check(form.data);

    p = form.data;
    p = ngx_cpymem(p, encoded->data, encoded->len);
    *p++ = '=';
    p = ngx_cpymem(p, encoded->data, encoded->len);

    if (n) {
        p = ngx_cpymem(p, "&k=", 3);
        p = ngx_cpymem(p, encoded->data, encoded->len);
    }

    form.len = p - form.data;

    fuzz_check(ngx_http_token_form_json(fz->pool, &form, &json) == NGX_OK);

    fuzz_check(json.len >= 2 && json.data[0] == '{'
               && json.data[json.len - 1] == '}');

    if (!ngx_http_token_is_utf8(id)) {

        /* refused before it comes here */

        fuzz_check(fuzz_json_check(json.data, json.len) != FUZZ_JSON_VALID);
        return;
    }

    if (id->len == 0 || ngx_strlchr(id->data, id->data + id->len, '\0')) {
        fuzz_check(fuzz_json_check(json.data, json.len) != FUZZ_JSON_INVALID);
        return;
    }

    fuzz_check(fuzz_json_check(json.data, json.len) == FUZZ_JSON_VALID);

    object = cJSON_ParseWithLength((char *) json.data, json.len);
    fuzz_check(object && cJSON_GetArraySize(object) == (int) (n ? 2 : 1));

    cJSON_ArrayForEach(member, object) {

        name = *id;

        /* one of an array, of which there is no other here */

        if (member == object->child && ngx_http_token_is_list(id)) {
            fuzz_check(strlen(member->string) == id->len - 2
                       && memcmp(member->string, id->data, id->len - 2) == 0);
            fuzz_check(cJSON_IsArray(member)
                       && cJSON_GetArraySize(member) == 1);
            member = member->child;
            fuzz_check(strlen(member->valuestring) == id->len
                       && memcmp(member->valuestring, id->data, id->len) == 0);
            member = object->child;
            continue;
        }

        if (member != object->child) {
            name.data = key;
            name.len = 1;
        }

        fuzz_check(strlen(member->string) == name.len
                   && memcmp(member->string, name.data, name.len) == 0);
        fuzz_check(strlen(member->valuestring) == id->len
                   && memcmp(member->valuestring, id->data, id->len) == 0);
    }

    cJSON_Delete(object);
}


int
fuzz_one(fuzz_t *fz)
{
    u_char      *end;
    ngx_str_t    id, secret, value, plain, wanted, parts[2];
    ngx_uint_t   form;

    form = fuzz_number(fz, 2);
    id = fuzz_text(fz);
    secret = fuzz_rest(fz);

    /* whatever it is, decoding stays within the room for the source */

    value.data = ngx_pnalloc(fz->pool, ngx_max(secret.len, 1));
    fuzz_check(value.data);

    end = ngx_http_token_form_decode(value.data, &secret);

    fuzz_check((size_t) (end - value.data) <= secret.len);

    parts[0] = fuzz_encoded(fz, &id);

    fuzz_json(fz, &id, &parts[0], form);
    parts[1] = fuzz_encoded(fz, &secret);

    if (!form) {
        parts[0] = id;
        parts[1] = secret;
    }

    fuzz_check(ngx_http_token_basic_value(fz->pool, &id, &secret, form, &value)
               == NGX_OK);

    fuzz_check(value.len > 6 && ngx_memcmp(value.data, "Basic ", 6) == 0);

    value.data += 6;
    value.len -= 6;

    plain.data = ngx_pnalloc(fz->pool, ngx_base64_decoded_length(value.len));
    fuzz_check(plain.data);

    fuzz_check(ngx_decode_base64(&plain, &value) == NGX_OK);

    wanted.data = ngx_pnalloc(fz->pool, parts[0].len + 1 + parts[1].len);
    fuzz_check(wanted.data);

    end = ngx_cpymem(wanted.data, parts[0].data, parts[0].len);
    *end++ = ':';
    end = ngx_cpymem(end, parts[1].data, parts[1].len);
    wanted.len = end - wanted.data;

    fuzz_check(fuzz_equal(&plain, &wanted));

    return 0;
}
